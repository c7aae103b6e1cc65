
# === sessions ================================================================================================================
# Who is behind a connection comes from the record that pam_exec made as root at its start. Only live sshd processes of root, matched
# by executable and start time, are ever ended.

SESSIONS=$RUN/sessions

# Writes $W/connections: `PID STARTED ACCOUNT PEER RECORD|-` for each ssh connection that is logged in.
find_connections() {
    sshd_processes >"$W/sshd"
    : >"$W/connections"
    with_record=' '
    while read -r pid parent_pid uid _ started somebody as_root; do
        [ "$uid" = 0 ] || continue
        record=$SESSIONS/$pid
        if read_record "$record"; then
            echo "$pid $started $account $peer $record" >>"$W/connections"
            with_record="$with_record$pid "
            continue
        fi
        # No record: the connection is older than the record, or it could not be written. It is logged in when a child of it runs as
        # somebody; a login as root has no such child, but says so in its title. The child of a recorded connection is not one of its own.
        if [ "$somebody" != - ]; then
            account=$(getent passwd "$somebody" | cut -d: -f1)
            case $account in *[!A-Za-z0-9._@+\\-]*) account=- ;; esac
            printf '%s %s %s - -\n' "$pid" "$started" "${account:--}" >>"$W/connections"
        elif [ "$as_root" = root ] && [ ! -f "$SESSIONS/$parent_pid" ]; then
            echo "$pid $started root - -" >>"$W/connections"
        fi
    done <"$W/sshd"
    # Records whose connection is gone.
    for record in "$SESSIONS"/[0-9]*; do
        [ -f "$record" ] || continue
        case $with_record in
        *" ${record##*/} "*) ;;
        *) [ -d "/proc/${record##*/}" ] || rm -f "$record" ;;
        esac
    done
}

# Sets account and peer from record $1, if it is of the process that began at $started.
read_record() {
    began='' account='' peer=''
    {
        read -r _ began && read -r _ account && read -r _ peer
    } 2>/dev/null <"$1" || return 1
    [ "$began" = "$started" ] || return 1
    is_account "$account" || account=-
    case $peer in '' | *[!A-Za-z0-9.:%_-]*) peer=- ;; esac
}

# The certificate of record $1, as one line; nothing where a plain key or a password opened it.
certificate_of() {
    while read -r method kind blob _; do
        case "$method $kind" in
        'publickey '*-cert-v01@openssh.com) ;;
        *) continue ;;
        esac
        case $kind$blob in *[!-A-Za-z0-9+/=@.]*) continue ;; esac
        printf '%s %s\n' "$kind" "$blob"
        return
    done <"$1"
}

# Sets what session_line needs: the clock in both its forms, and the processes above this one, with the connection that brought the request.
prepare_lines() {
    clock=$(now) ticks=$(ticks_now) above=
    at=$$
    while [ "$at" -gt 1 ] && process "$at"; do
        above="$above $at"
        at=$parent
    done
}

# Prints the session line of one connection, that began at $began. Arguments: PID ACCOUNT PEER RECORD STATE.
session_line() {
    [ -n "$clock" ] || prepare_lines
    key_id='' serial=null
    if [ "$4" != - ] && certificate_of "$4" >"$W/certificate" && [ -s "$W/certificate" ]; then
        ssh-keygen -L -f "$W/certificate" >"$W/words" 2>/dev/null
        key_id=$(sed -n 's/^ *Key ID: "\(.*\)"$/\1/p' "$W/words" | head -n 1)
        serial=$(sed -n 's/^ *Serial: \([0-9]*\)$/\1/p' "$W/words" | head -n 1)
    fi
    [ "$2" != - ] || set -- "$1" '' "$3" "$4" "$5"
    [ "$3" != - ] || set -- "$1" "$2" '' "$4" "$5"
    own=false
    case " $above " in *" $1 "*) own=true ;; esac
    printf '{"step":"session","pid":%s,"started":%s,"since_unix":%s,"own":%s,"account":"%s","peer":"%s","key_id":"%s","serial":%s,"state":"%s"}\n' \
        "$1" "$began" "$((clock - (ticks - began) / 100))" "$own" "$(json "$2")" "$3" "$(json "$key_id")" "${serial:-null}" "$5"
}

# Prints the processes below $1, itself first.
below() {
    grep -HE '^PPid:' /proc/[0-9]*/status 2>/dev/null |
        awk -v root="$1" '
            { split($1, path, "/"); children[$2] = children[$2] " " path[3] }
            END {
                n = 1; queue[1] = root
                for (i = 1; i <= n; i++) {
                    print queue[i]
                    m = split(children[queue[i]], more, " ")
                    for (j = 1; j <= m; j++) queue[++n] = more[j]
                }
            }'
}

# Ends the connection of sshd process $1 that began at $2, with all below it. The start time is looked at again right before: a pid
# may have come to mean another process.
end_connection() {
    # Nothing may ever come to mean everything.
    [ "$1" -gt 1 ] || return 1
    below "$1" | while read -r pid; do
        if process "$pid"; then echo "$pid $started"; fi
    done >"$W/tree"
    process "$1" && [ "$started" = "$2" ] || return 0
    kill -TERM "$1" 2>/dev/null
    rounds=0
    while [ "$rounds" -lt 3 ]; do
        left=no
        while read -r victim victim_began; do
            if process "$victim" && [ "$started" = "$victim_began" ] && [ "${stat%% *}" != Z ]; then
                left=yes
                [ "$rounds" -eq 0 ] || kill -KILL "$victim" 2>/dev/null
            fi
        done <"$W/tree"
        [ "$left" = yes ] || return 0
        rounds=$((rounds + 1))
        sleep 0.2 2>/dev/null || sleep 1
    done
    # Gone, or a zombie that only waits for its parent.
    process "$1" && [ "$started" = "$2" ] && [ "${stat%% *}" != Z ] && return 1
    return 0
}

# Ends every connection whose certificate the KRL now revokes, and those that $W/wanted names (`key-id ID`, `serial N`, `session PID STARTED`).
# Prints a line for each of these, and for each that nobody can attribute. With `list`, ends none, and prints a line for every one.
end_revoked() {
    left_open=no
    # Before the look: what is recorded after it was not looked at.
    recorded
    find_connections
    clock=
    if [ "${1-}" = list ]; then prepare_lines; fi
    set -- "${1-}"
    while read -r pid _ _ _ record; do
        [ "$record" != - ] || continue
        certificate_of "$record" >"$W/opened.$pid"
        if [ -s "$W/opened.$pid" ]; then set -- "$@" "$W/opened.$pid"; fi
    done <"$W/connections"
    doing=$1
    shift
    # ` PID ` of each connection whose certificate the KRL revokes.
    revoked_pids=' '
    if [ $# -gt 0 ]; then
        ssh-keygen -Q -f "$KRL" "$@" >"$W/answer" 2>/dev/null
        # It stops at the first that it cannot read: that one must not keep the others' sessions alive.
        [ $? -lt 2 ] || for one; do ssh-keygen -Q -f "$KRL" "$one" 2>/dev/null; done >"$W/answer"
        while IFS= read -r judged; do
            case $judged in
            "$W/opened."*': REVOKED')
                judged=${judged#"$W/opened."}
                revoked_pids="$revoked_pids${judged%%[!0-9]*} "
                ;;
            esac
        done <"$W/answer"
    fi
    while read -r pid began account peer record; do
        state=live
        [ "$record" != - ] || state=unknown
        if is_named "$pid" "$began" || is_revoked "$pid" || is_wanted "$W/opened.$pid"; then
            state=open
            if [ "$doing" != list ]; then
                line=$(session_line "$pid" "$account" "$peer" "$record" ended)
                if end_connection "$pid" "$began"; then
                    [ "$record" = - ] || rm -f "$record"
                    printf '%s\n' "$line"
                    continue
                fi
                left_open=yes
            fi
        fi
        if [ "$state" != live ] || [ "$doing" = list ]; then
            session_line "$pid" "$account" "$peer" "$record" "$state"
        fi
    done <"$W/connections"
}

is_revoked() {
    case $revoked_pids in *" $1 "*) ;; *) return 1 ;; esac
}

is_named() {
    [ -s "$W/wanted" ] && grep -qx "session $1 $2" "$W/wanted"
}

is_wanted() {
    [ -s "$W/wanted" ] && [ -s "$1" ] || return 1
    ssh-keygen -L -f "$1" 2>/dev/null | sed -n 's/^ *Key ID: "\(.*\)"$/key-id \1/p; s/^ *Serial: \([0-9]*\)$/serial \1/p' >"$W/named"
    grep -qxFf "$W/wanted" "$W/named"
}

# Sets $known: the records of sessions that there are. No process is needed for it.
recorded() {
    set -- "$SESSIONS"/[0-9]*
    known=$*
    # More than an environment may hold: it is always looked again then.
    [ ${#known} -le 100000 ] || known=
}

# A login that read the old KRL may begin its session a moment after the first look. Runs on after this request has ended.
look_again_later() {
    # Nothing of the request stays open, or its connection would wait for this.
    (later) </dev/null >/dev/null 2>&1 8>&- 9>&- &
}

later() {
    trap - EXIT
    # `$$` is still the process of the request, which ends now.
    read -r own_pid _ </proc/self/stat || return
    for pause in 2 10 120; do
        sleep "$pause"
        looked_at=$known
        recorded
        # A session is recorded before it runs anything: where none came, and none was left, there is nothing to look for.
        if [ -n "$known" ] && [ "$known" = "$looked_at" ] && [ "$left_open" = no ]; then continue; fi
        # On its own: a disk that is full now may not be full at the next look.
        if (make_work && end_revoked && [ "$left_open" = no ]); then left_open=no; else left_open=yes; fi
    done
}

# The whole KRL lane: the KRL into place, the sessions that it ends, and one more look at them.
apply_krl() {
    install_krl
    end_revoked
    if [ "$krl_changed" = yes ]; then look_again_later; fi
}
