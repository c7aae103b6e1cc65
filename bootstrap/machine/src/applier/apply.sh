
# === apply =======================================================================================================================

# Whether the file can be put into place at all, and its folder: said before anything is.
put_in_place() { # CHANGE MODE STAGED PATH
    folder=${4%/*}
    if [ "$1" = removed ]; then
        rm -f "$4" && sync "$folder"
        return
    fi
    # A link or a folder where a file belongs would send the rename somewhere else, or stop it.
    if [ -d "$4" ] && [ ! -L "$4" ]; then rm -rf "$4"; fi
    new=$folder/.ssh-ca.${4##*/}.new
    cat "$3" >"$new" && chown 0:0 "$new" && chmod "$2" "$new" && sync "$new" && mv -f "$new" "$4" && sync "$folder"
}

make_folders() {
    for folder in "$CA" "$CA/principals" /etc/ssh/sshd_config.d; do
        [ -d "$folder" ] || mkdir -m 755 "$folder" || return 1
    done
    chown 0:0 "$CA" "$CA/principals" && chmod 755 "$CA" "$CA/principals" || return 1
    mkdir -p -m 700 "$STATE" "$SESSIONS" && chmod 700 "$STATE"
}

# Puts everything back and ends. Arguments: CODE, what happened.
give_up() {
    if [ -d "$PENDING" ]; then
        if put_back; then
            refuse "$1" "$2; everything was put back as it was"
        fi
        refuse "$1" "$2; not everything could be put back, and the timer goes on trying each minute"
    fi
    refuse "$1" "$2"
}

# Where the first login was root: the admins' own account, with the key that came along. Never touched where it exists.
make_admin() {
    [ "$first_contact" = yes ] && [ -n "$word_admin" ] && [ -s "$W/admin-key" ] || return 0
    look_up "$word_admin"
    home=${has_home:-/home/$word_admin}
    if [ -n "$entry" ] && [ ! -e "$STATE/admin-making" ]; then
        did admin-unchanged "$word_admin exists already; its keys were not touched"
        return 0
    fi
    echo "$word_admin" | write_whole "$STATE/admin-making" 600 || return 1
    if [ -z "$entry" ]; then
        if have useradd; then
            useradd -m -s /bin/sh -p '*' "$word_admin" 2>"$W/words" || return 1
        else
            name=$word_admin
            adduser -D -s /bin/sh "$word_admin" 2>"$W/words" && no_password || return 1
        fi
    fi
    mkdir -p -m 700 "$home/.ssh" && write_whole "$home/.ssh/authorized_keys" 600 <"$W/admin-key" &&
        chown -R "$word_admin:" "$home/.ssh" || return 1
    echo "$word_admin ALL=(ALL:ALL) NOPASSWD: ALL" >"$W/admin-sudo"
    if have visudo; then visudo -c -q -f "$W/admin-sudo" >"$W/words" 2>&1 || return 1; fi
    mkdir -p -m 750 /etc/sudoers.d && put_in_place new 0440 "$W/admin-sudo" /etc/sudoers.d/ssh-ca-admin || return 1
    rm -f "$STATE/admin-making"
    printf '{"step":"account","name":"%s","change":"made"}\n' "$word_admin"
}

apply_bundle() {
    lock config 30
    mkdir -p -m 700 "$STATE" || refuse disk "$STATE could not be made"
    find_sshd
    # Before anything else: what nobody signed puts nothing back.
    choose_fleet
    verify bundle@ssh-ca "$W/bundle"
    if [ -d "$PENDING" ]; then
        # What came through an admin's login is the admin's to prove and to confirm, as long as its time runs: the server waits for it.
        if [ "$first_contact" = no ] && [ "$(cat "$PENDING/by" 2>/dev/null)" = admin ] && [ "$(restore_in)" -gt 0 ]; then
            refuse busy "a change through an admin's login waits for its confirmation, for $(restore_in) s more; try again after that"
        fi
        # Nor does what will be refused anyway: an old bundle, or another machine's, is signed as well, and whoever has one may send it again.
        if [ "$first_contact" = no ]; then read_head; fi
        # One that was never confirmed, or was killed half way: from the start again.
        put_back || refuse disk "an earlier change waits for its confirmation and could not be put back; look at the disk"
        did earlier-put-back
    fi
    # After a roll-back of the first apply the machine trusts no fleet key again.
    choose_fleet
    read_bundle
    did verified "generation $generation"
    plan_accounts
    find_changes
    if [ ! -s "$W/changes" ] && [ ! -s "$W/account-plan" ]; then
        # Somebody else's write bit on a folder makes sshd refuse every certificate.
        make_folders || refuse disk "the folders could not be made"
        record_generation || refuse disk "the generation could not be written down"
        record_applied || refuse disk "the generation could not be written down"
        keep_pull_key && set_pull || refuse failed "what this machine fetches with could not be set up; see that cron or systemd runs and the disk has room"
        did unchanged
        return
    fi
    validate
    find_timer
    if [ -s "$W/changes" ] && [ -z "$timer" ]; then
        refuse no-timer "nothing on this machine could put the change back by itself: neither systemd, nor a running cron, nor OpenRC; install cron"
    fi
    make_folders || refuse disk "the folders could not be made"
    record_generation || refuse disk "the generation could not be written down; nothing was changed"
    did generation-recorded
    [ -n "$word_nonce" ] || refuse bad-request "an apply needs a nonce"
    make_admin || refuse failed "the account $word_admin could not be made: $(head -c 300 "$W/words")"
    if [ -s "$W/changes" ]; then
        seconds=$word_confirm
        [ "$seconds" -ge 20 ] || seconds=20
        [ "$seconds" -le 7200 ] || seconds=7200
        { cut -d' ' -f4 "$W/changes" && printf '%s\n' "$STATE/applied" "$STATE/manifest"; } | take_snapshot "$word_nonce" "$seconds" ||
            refuse disk "no snapshot could be taken (is the disk full?); nothing was changed"
        did snapshot
        arm restore || give_up no-timer "the timer on this machine could not be armed with $timer"
        did timer-armed "$timer, $seconds s"
    fi
    failure=
    apply_accounts || give_up failed "$failure"
    while read -r change mode staged path; do
        put_in_place "$change" "$mode" "$staged" "$path" || give_up disk "$path could not be put into place"
        printf '{"step":"file","path":"%s","change":"%s"}\n' "$(json "$path")" "$change"
    done <"$W/changes"
    record_applied || give_up disk "what was applied could not be written down"
    keep_pull_key && set_pull || give_up failed "what this machine fetches with could not be set up; see that cron or systemd runs and the disk has room"
    if [ -s "$W/changes" ]; then
        config_holds "$SSHD_CONFIG" || give_up invalid-config "$complaint"
        did checked
        if sshd_must_reload "$W/changes"; then
            reload_sshd || give_up invalid-config "sshd did not survive the reload"
            did reloaded
        fi
        ticks_now >"$W/ticks"
        write_whole "$PENDING/applied-at" 600 <"$W/ticks" || give_up disk "the end of the apply could not be written down"
    fi
    did applied "generation $generation"
}

record_generation() {
    [ "$seen_generation $seen_sha256 $seen_machine" = "$generation $bundle_sha256 $machine" ] ||
        echo "$generation $bundle_sha256 $machine" | write_whole "$STATE/generation" 600
}

record_applied() {
    cmp -s "$W/manifest" "$STATE/manifest" || write_whole "$STATE/manifest" 600 <"$W/manifest" || return 1
    echo "$generation $bundle_sha256 $machine $fresh_until" >"$W/applied"
    cmp -s "$W/applied" "$STATE/applied" || write_whole "$STATE/applied" 600 <"$W/applied"
}

apply() {
    [ -e "$W/krl" ] || [ -e "$W/bundle" ] || refuse bad-request "the request brings nothing"
    if [ -e "$W/bundle" ] && [ -d "$REMOVING" ]; then
        # A machine that comes back before its removal was done is a new one; a KRL alone waits for nothing (R10).
        lock config 30
        find_sshd
        take_off
        end_removal
        unlock config
    fi
    if [ -e "$W/krl" ]; then apply_krl; fi
    if [ -e "$W/bundle" ]; then apply_bundle; fi
}

# Says what an apply would change; writes nothing outside its own folder.
dry_run() {
    choose_fleet
    if [ -e "$W/krl" ]; then
        read_parcel
        tail -c "$krl_size" "$W/krl" >"$W/new.krl"
        [ "$(sha256 "$W/new.krl")" = "$krl_sha256" ] && judge_canaries "$W/new.krl" || refuse canary "OpenSSH on this machine does not read this KRL as it must"
        krl_is_in_place || did krl-would-change "version $krl_version"
    fi
    if [ -e "$W/bundle" ]; then
        find_sshd
        read_bundle
        plan_accounts
        find_changes
        report_changes
        report_accounts
    fi
}
