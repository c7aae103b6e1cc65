
# === removal ======================================================================================================================
# Takes off everything that the CA put here; accounts that it made are expired, with their homes kept, and the admins' own account is not
# touched. What was begun is finished: from $REMOVING on, which outlives a reboot, a timer runs this applier again until nothing is left.
# Each step may be cut off anywhere and done again.
#
# Where the order was fetched, nobody waits for an answer: $REMOVING/farewell keeps what it takes to tell the CA (its address, the secret, the
# puller), and stays with the timer, as root's alone, until the CA has heard it or was told often enough.

REMOVING=$STATE/removing

begin_removal() {
    if [ -d "$REMOVING" ]; then return; fi
    new=$STATE/removing.new
    rm -rf "$new"
    mkdir -p -m 700 "$STATE" && mkdir -m 700 "$new" && cp "$0" "$new/applier" && cmp -s "$0" "$new/applier" && keep_farewell "$new/farewell" &&
        sync "$new/applier" "$new" && mv "$new" "$REMOVING" && sync "$STATE"
}

# Keeps in $1 what says to the CA that it is off here, if the order was fetched.
keep_farewell() {
    [ "$word_fetched" = yes ] || return 0
    mkdir -m 700 "$1" && cp "$PULLER" "$STATE/pull.conf" "$STATE/pull-key" "$1" && { [ ! -e "$STATE/pull-ca.pem" ] || cp "$STATE/pull-ca.pem" "$1"; } &&
        cp "$STATE/order" "$1/order" && sync "$1"/* "$1"
}

remove() {
    lock config 30
    find_sshd
    if [ -d "$PENDING" ]; then put_back || refuse disk "an earlier change could not be put back; nothing else was changed"; fi
    find_timer
    # Before there is anything for it to do: from the first step on somebody finishes this.
    if [ -n "$timer" ] && arm removal; then
        did timer-armed "$timer"
    else
        warning no-timer "nothing on this machine could finish this by itself if it is interrupted; ask again then"
    fi
    begin_removal || {
        # On a full disk what is kept for the next KRL makes room: there is none to come.
        rm -f "$RESERVE"
        begin_removal || {
            disarm removal
            refuse disk "the removal could not be written down; nothing was changed"
        }
    }
    did removal-begun
    take_off
    # Whoever asked over a connection has heard it: nothing is left to say.
    [ "$word_fetched" = yes ] || end_removal
}

end_removal() {
    disarm removal
    rm -rf "$REMOVING" && sync "$STATE"
}

# What the timer runs: goes on with what was begun. Fails where something is left to do.
resume_removal() {
    exec >/dev/null 2>&1
    lock config 30
    [ -d "$REMOVING" ] || { disarm removal && return; }
    if [ ! -e "$REMOVING/off" ]; then
        find_sshd
        take_off
    fi
    if [ -d "$REMOVING/farewell" ]; then
        # It may take its time, and an admin who brings this machine back must not wait for it.
        unlock config
        /bin/sh "$REMOVING/farewell/puller" farewell 9>&- || exit 1
        lock config 30
        # Somebody brought it back meanwhile.
        [ -e "$REMOVING/off" ] || return 0
    fi
    end_removal
}

take_off() {
    : >"$W/accounts-wanted"
    : >"$W/account-plan"
    plan_forgotten
    failure=
    # First those that it made: without the CA's rules they would take keys from their own homes.
    apply_accounts || refuse failed "$failure; what was begun goes on each minute"
    take_line_off "$SSHD_CONFIG" "Include $DROP_IN"
    take_line_off "$PAM_SSHD" "$STATE/session-record"
    if [ -e "$DROP_IN" ]; then
        rm -f "$DROP_IN" && sync "${DROP_IN%/*}" && printf '{"step":"file","path":"%s","change":"removed"}\n' "$DROP_IN"
    fi
    # sshd first, then what its configuration named.
    "$SSHD" -t 2>"$W/words" || refuse invalid-config "sshd does not accept what is left of its configuration: $(head -c 300 "$W/words")"
    reload_sshd || refuse failed "sshd did not survive the reload"
    if [ -e /etc/sudoers.d/ssh-ca ]; then
        rm -f /etc/sudoers.d/ssh-ca && printf '{"step":"file","path":"/etc/sudoers.d/ssh-ca","change":"removed"}\n'
    fi
    # A KRL that comes right now must not make the folder anew.
    lock krl 30
    if [ "$told" = no ] && [ -s "$W/sshd" ]; then
        # Were it gone, an sshd that still goes by what it read would refuse every key.
        for file in "$CA"/*; do
            case $file in *.krl) ;; *) rm -rf "$file" ;; esac
        done
        warning krl-stays "no listening sshd could be told to read its configuration again, so the revocation lists in $CA stay; restart sshd, then remove that folder"
    elif [ -e "$CA" ]; then
        rm -rf "$CA" && printf '{"step":"file","path":"%s","change":"removed"}\n' "$CA"
    fi
    for name in ssh-ca-sync ssh-ca-probe breakglass; do
        look_up "$name"
        if [ -n "$entry" ] && [ "$has_gecos" = "$GECOS_OF_OURS" ]; then
            end_processes_but_ours "$has_uid"
            # The login that asked for this may still be its own.
            delete_account in-use && rm -f "$STATE/accounts/$name" &&
                printf '{"step":"account","name":"%s","change":"purged"}\n' "$name"
        fi
    done
    remove_pull
    # Which accounts are the CA's own making stays on record, for the day it comes back; and so does the number of the last order.
    rm -rf "$STATE/applied" "$STATE/manifest" "$STATE/generation" "$STATE/krl" "$TRUST" "$RESERVE" "$STATE/applier" "$STATE/session-record" "$SESSIONS"
    unlock krl
    # The rest is words: sshd is not told to reload again for these.
    if [ -d "$REMOVING" ]; then : >"$REMOVING/off"; fi
    did removed
}

# Takes the lines with this text out of a file of the system's. Arguments: PATH TEXT.
take_line_off() {
    [ -f "$1" ] && grep -qF "$2" "$1" || return 0
    grep -vF "$2" "$1" >"$W/left"
    # 1 says that no line is left; more, that it could not be read or written: cut off, it would shut everybody out.
    [ $? -le 1 ] && write_whole "$1" "$(stat -c %a "$1")" <"$W/left" || refuse disk "$1 could not be written; what was begun goes on each minute"
    printf '{"step":"file","path":"%s","change":"changed"}\n' "$1"
}

# Ends the processes of account $1, but for those that brought this request.
end_processes_but_ours() {
    above=
    at=$$
    while [ "$at" -gt 1 ] && process "$at"; do
        above="$above $at"
        at=$parent
    done
    for round in 1 2 3; do
        victims=
        for pid in $(grep -HE '^Uid:' /proc/[0-9]*/status 2>/dev/null |
            awk -v uid="$1" '$2 == uid || $3 == uid || $4 == uid { split($1, path, "/"); print path[3] }'); do
            case " $above " in *" $pid "*) ;; *) victims="$victims $pid" ;; esac
        done
        [ -n "$victims" ] || return 0
        # shellcheck disable=SC2086 # words on purpose
        kill -KILL $victims 2>/dev/null
        [ "$round" -eq 3 ] || sleep 0.1 2>/dev/null || sleep 1
    done
}
