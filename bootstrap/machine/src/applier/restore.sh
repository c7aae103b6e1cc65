
# === snapshot and roll-back ===================================================================================================
# The snapshot stands in $PENDING as long as an apply waits for its confirmation: numbered copies, `list` with owner and mode,
# the nonce, through whose login it came, the deadline, and the applier that will put it back.

# Takes a snapshot of the paths on standard input. Arguments: NONCE SECONDS.
take_snapshot() {
    new=$STATE/pending.new
    rm -rf "$new"
    mkdir -m 700 "$new" || return 1
    number=0
    while read -r path; do
        if [ -f "$path" ]; then
            number=$((number + 1))
            cp -p "$path" "$new/$number" && cmp -s "$path" "$new/$number" && sync "$new/$number" || return 1
            echo "present $number $(stat -c '%u %g %a' "$path") $path" || return 1
        else
            echo "absent - - - - $path" || return 1
        fi
    done >"$new/list"
    cp "$0" "$new/applier" && cmp -s "$0" "$new/applier" && sync "$new/applier" || return 1
    echo "$1" >"$new/nonce" || return 1
    by='server'
    if [ "$first_contact" = yes ]; then by='admin'; fi
    echo "$by" >"$new/by" || return 1
    echo "$(boot_mark) $(($(uptime_ticks) + $2 * 100))" >"$new/deadline" || return 1
    sync "$new/list" "$new/nonce" "$new/by" "$new/deadline" "$new" && mv "$new" "$PENDING" && sync "$STATE"
}

# A key that an apply took away does not come back by a roll-back (R10): of the old lines, those whose key still stands there now; and where
# none is left, the file stays as it is. Arguments: OLD NOW.
without_removed_keys() {
    awk '
        { key = ""; for (i = 1; i <= NF; i++) if ($i ~ /^AAAA/) { key = $i; break } }
        FNR == NR { stands[key] = 1; next }
        key != "" && (key in stands)' "$2" "$1"
}

# Of these two files only a line is the CA's. What an admin wrote there since the snapshot stays, without that line, as long as sshd takes it.
# Sets old; fails where the file is to stay as it is.
keep_edit() { # PATH
    [ -f "$1" ] || return 0
    for side in "$old" "$1"; do
        sed -e "\\#^Include $DROP_IN\$#d" -e "\\#$STATE/session-record#d" "$side" >"$W/without.${side##*/}" || return 0
    done
    if [ ! -s "$W/without.${1##*/}" ] || cmp -s "$W/without.${old##*/}" "$W/without.${1##*/}"; then return 0; fi
    if [ "$exact" = yes ]; then
        cp -p "$1" "$STATE/edited-${1##*/}" 2>/dev/null
        warning edit-taken-back "$1 was edited since the snapshot, and sshd did not accept the outcome: what stood there is in $STATE/edited-${1##*/}"
        return 0
    fi
    edited=yes
    cmp -s "$W/without.${old##*/}" "$old" || return 1
    old=$W/without.${1##*/}
}

put_back_one() { # KIND NUMBER UID GID MODE PATH
    if [ "$1" = absent ]; then
        # sshd may still go by what it read: without this file it would refuse every key of the admins. Empty, it does nothing (R11).
        [ "$6" = "$CA/admin_revoked.krl" ] || rm -f "$6"
        return
    fi
    old=$PENDING/$2
    case $6 in
    "$CA"/user_ca.pub | "$FLEET" | "$CA"/sync_authorized_keys)
        if [ -s "$6" ]; then
            without_removed_keys "$old" "$6" >"$W/kept"
            if ! cmp -s "$W/kept" "$old"; then
                old=$W/kept
                [ -s "$old" ] || return 0
            fi
        fi
        ;;
    "$SSHD_CONFIG" | "$PAM_SSHD") keep_edit "$6" || return 0 ;;
    esac
    new=${6%/*}/.ssh-ca.${6##*/}.old
    cp -p "$old" "$new" && chown "$3:$4" "$new" && chmod "$5" "$new" && sync "$new" && mv -f "$new" "$6"
}

put_back_list() {
    while read -r kind number uid gid mode path; do
        put_back_one "$kind" "$number" "$uid" "$gid" "$mode" "$path" || failed=yes
    done <"$PENDING/list"
}

# An account of the CA's making that the configuration put back does not name would take keys from its own home: it is expired until an apply
# names it again.
shut_unknown() {
    for marker in "$STATE"/accounts/*; do
        name=${marker##*/}
        [ -f "$marker" ] || continue
        marker_of "$name"
        if [ "$marked_origin" != made ] || grep -qsE "^Match User (.*,)?$name(,|\$)" "$DROP_IN"; then continue; fi
        look_up "$name"
        if [ -z "$entry" ] || [ "$(expiry_of "$name")" = 1 ]; then continue; fi
        set_expiry "$name" 1 || failed=yes
    done
}

# Puts the snapshot back, byte for byte with owner, mode and absence. May be cut off anywhere and run again.
put_back() {
    failed=no exact=no edited=no
    put_back_list
    find_sshd
    if [ "$edited" = yes ] && ! "$SSHD" -t 2>"$W/words"; then
        exact=yes
        put_back_list
    fi
    shut_unknown
    # Whether this machine fetches is as it was as well. A timer that is left over starts nothing.
    set_pull || :
    cut -d' ' -f6 "$PENDING/list" | sed 's#/[^/]*$##' | sort -u | while read -r folder; do
        sync "$folder" 2>/dev/null
    done
    # The snapshot's list names whatever may have changed, also where the apply was cut off before its reload.
    if ! sshd_must_reload "$PENDING/list"; then
        :
    elif "$SSHD" -t 2>"$W/words"; then
        reload_sshd
    else
        warning invalid-config "sshd does not accept the configuration that stood here before, and keeps what it runs with: $(cat "$W/words")"
    fi
    # Otherwise the timer goes on trying: a full or read-only disk may get better.
    [ "$failed" = no ] || return 1
    close_pending
}

# From the rename on, nothing waits any more.
close_pending() {
    rm -rf "$STATE/pending.old"
    mv "$PENDING" "$STATE/pending.old" && sync "$STATE"
    disarm restore
    rm -rf "$STATE/pending.old"
}

# What the timer runs: puts the snapshot back when it is due. With `boot`, it is.
tick() {
    [ -d "$PENDING" ] || { disarm restore && return; }
    [ "${1-}" = boot ] || [ "$(restore_in)" -eq 0 ] || return 0
    lock config 30
    # It may have been confirmed while we waited.
    [ -d "$PENDING" ] || return 0
    if [ "${1-}" = boot ] || [ "$(restore_in)" -eq 0 ]; then
        if have logger; then
            logger -t ssh-ca 'the change of the ssh configuration was not confirmed in time: it is put back' 2>/dev/null
        fi
        put_back
    fi
}

roll_back() {
    lock config 30
    [ -d "$PENDING" ] || refuse nothing-pending "no change waits for its confirmation, so there is nothing to put back"
    put_back || refuse disk "not everything could be put back; the timer goes on trying each minute"
    did rolled-back
}

# Disarms the timer, over a login that is younger than the change: a connection from before proves nothing.
confirm() {
    lock config 30
    [ -d "$PENDING" ] || refuse nothing-pending "no change waits for its confirmation: it was confirmed, or put back already"
    [ "$word_nonce" = "$(cat "$PENDING/nonce")" ] || refuse wrong-nonce "another change waits for its confirmation"
    [ -s "$PENDING/applied-at" ] || refuse not-fresh "that apply did not come to its end; run it again"
    [ "$(restore_in)" -gt 0 ] || refuse not-fresh "the time to confirm is over; run the apply again"
    find_login
    [ "$login_started" -ge "$(cat "$PENDING/applied-at")" ] ||
        refuse not-fresh "this connection is older than the change; confirm over a new one, which proves that logging in works"
    close_pending
    did confirmed
}

# Sets login_started: when the ssh connection below which this runs began, in ticks since boot; 0 where there is none.
find_login() {
    login_started=0
    sshd_processes >"$W/sshd"
    at=$$
    while [ "$at" -gt 1 ] && process "$at"; do
        if grep -q "^$at " "$W/sshd"; then
            login_started=$started
            return
        fi
        at=$parent
    done
}
