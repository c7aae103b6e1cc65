#!/bin/sh
# The SSH certificate authority on this machine: verifies what arrives on standard input and makes it so.
# POSIX sh with coreutils, awk and OpenSSH >= 8.2. Fixed text: data comes on standard input, never as an argument.
# shellcheck disable=SC2015,SC2094,SC2174 # `a && b || stop` is meant so; parents of made folders exist or are ours; nothing is written while read
set -u
umask 077
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
export LC_ALL PATH
unset CDPATH ENV GREP_OPTIONS 2>/dev/null || :
# A connection that breaks must not stop an apply half way; the timer judges, not the network.
trap '' HUP PIPE INT

CA=/etc/ssh/ca
STATE=/var/lib/ssh-ca
RUN=/run/ssh-ca
KRL=$CA/revoked.krl
FLEET=$CA/fleet.pub
DROP_IN=/etc/ssh/sshd_config.d/00-ssh-ca.conf
SSHD_CONFIG=/etc/ssh/sshd_config
PAM_SSHD=/etc/pam.d/sshd
MAX_INPUT=33554432
W=
own_pid=$$
LINE_END='
'

# --- what goes back, as JSON lines ---------------------------------------------------------------------------------------

# Any text as the inside of a JSON string: one line, no control characters, at most 600 bytes.
json() {
    json_text "$1"
    printf '%s' "$text"
}

# Sets text to that.
json_text() {
    text=$1
    case $1 in
    *[!-A-Za-z0-9\ ._:,/@+=]*) ;;
    *)
        # Nothing in it to change, as nearly always: five processes less.
        if [ ${#1} -le 600 ]; then return; fi
        ;;
    esac
    text=$(printf '%s' "$1" | tr '\011\012\015' '   ' | tr -d '\000-\037\177' | cut -c1-600 | sed 's/\\/\\\\/g; s/"/\\"/g')
}

did() {
    if [ $# -gt 1 ]; then
        json_text "$2"
        printf '{"step":"did","name":"%s","detail":"%s"}\n' "$1" "$text"
    else
        printf '{"step":"did","name":"%s"}\n' "$1"
    fi
}

warning() {
    printf '{"step":"warning","code":"%s","detail":"%s"}\n' "$1" "$(json "$2")"
}

# Ends with nothing more done. Arguments: CODE, what happened and what to do next.
refuse() {
    # A refused bundle takes nothing from the KRL that came with it: where the machine stands is said all the same (R10).
    if [ -n "${krl_changed-}" ]; then state_line; fi
    printf '{"step":"refused","code":"%s","detail":"%s"}\n' "$1" "$(json "$2")"
    exit 1
}

# --- small words ---------------------------------------------------------------------------------------------------------

is_number() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    [ ${#1} -le 18 ]
}

is_hex() { # TEXT LENGTH
    case $1 in *[!0-9a-f]*) return 1 ;; esac
    [ ${#1} -eq "$2" ]
}

is_account() {
    case $1 in [!a-z_]* | *[!a-z0-9_-]* | '') return 1 ;; esac
    [ ${#1} -le 32 ]
}

now() { date +%s; }
# Whether this runs as root; no process is needed for it.
is_root() {
    effective=
    while read -r word _ effective _; do [ "$word" != Uid: ] || break; done 2>/dev/null </proc/self/status
    [ "$effective" = 0 ]
}
sha256() {
    sum=$(sha256sum <"$1") || return
    printf '%s\n' "${sum%% *}"
}
size_of() { stat -L -c %s "$1"; }
have() { command -v "$1" >/dev/null 2>&1; }
free_kib() { df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ _ _ left _ && printf '%s\n' "$left"; }; }

# Hundredths of a second since boot, which no clock step changes.
uptime_ticks() {
    read -r seconds _ </proc/uptime
    printf '%s%s\n' "${seconds%.*}" "${seconds#*.}"
}

# What `process` will say of a process that begins now. Not the uptime: a container may be shown one of its own.
ticks_now() { sed 's/.*) //' /proc/self/stat | cut -d' ' -f20; }

# Sets `parent` and `started` (clock ticks since boot) of process $1.
process() {
    stat=
    {
        # A name in parentheses may hold anything, line ends too.
        while IFS= read -r part || [ -n "$part" ]; do stat="$stat $part"; done
    } 2>/dev/null <"/proc/$1/stat" || return 1
    part=
    # Count from the last parenthesis on.
    stat=${stat##*) }
    set -f
    # shellcheck disable=SC2086 # words on purpose
    set -- $stat
    set +f
    [ $# -ge 20 ] || return 1
    parent=$2
    shift 19
    started=$1
}

# This boot, also where machines share a kernel.
boot_mark() {
    process 1 || started=0
    printf '%s-%s\n' "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" "$started"
}

# Writes standard input to $1 so that it is there whole or not at all. Arguments: PATH MODE.
write_whole() {
    cat >"$1.ssh-ca-new" && chmod "$2" "$1.ssh-ca-new" && sync "$1.ssh-ca-new" && mv -f "$1.ssh-ca-new" "$1" && sync "${1%/*}"
}

# --- the root-only folder and the request ------------------------------------------------------------------------------------

# Sets in_run and on_disk: KiB that are free where a request can be worked on; empty where that cannot be said.
room() {
    set -- /run
    if [ -d "$STATE" ]; then set -- /run "$STATE"; fi
    words=$(df -Pk "$@" 2>/dev/null)
    in_run='' on_disk='' old_ifs=$IFS IFS=$LINE_END
    set -f
    # shellcheck disable=SC2086 # lines on purpose
    set -- $words
    IFS=$old_ifs
    if [ $# -gt 1 ]; then free_of "$2" && in_run=$left; fi
    if [ $# -gt 2 ]; then free_of "$3" && on_disk=$left; fi
    set +f
}

# Sets left: the KiB that are free, as line $1 of `df -Pk` says. Globbing is off.
free_of() {
    # shellcheck disable=SC2086 # words on purpose
    set -- $1
    left=${4-}
}

make_work() {
    unset TMPDIR
    for old in /run/ssh-ca-work.* "$STATE"/work.*; do
        owner=${old##*work.}
        owner=${owner%%.*}
        # What a killed run left behind.
        if [ -d "$old" ] && [ ! -d "/proc/$owner" ]; then rm -rf "$old"; fi
    done
    base=/run/ssh-ca-work
    room
    if [ "${in_run:-0}" -lt 24576 ] && [ -d "$STATE" ]; then
        # With room in neither, a revocation could not even be read: that is what the reserve is for. It has four times a KRL's size.
        least=
        if [ -s "$STATE/krl" ]; then read -r _ _ _ least _ <"$STATE/krl"; fi
        is_number "$least" || least=0
        least=$((least / 1024))
        [ "$least" -gt 1024 ] || least=1024
        if [ "${in_run:-0}" -lt "$least" ] && [ "${on_disk:-0}" -lt "$least" ]; then
            rm -f "$STATE/reserve"
            room
        fi
        if [ "${on_disk:-0}" -gt "${in_run:-0}" ]; then base=$STATE/work; fi
    fi
    W=$(mktemp -d "$base.$own_pid.XXXXXX" 2>/dev/null) || W=$(mktemp -d 2>/dev/null) ||
        refuse disk "no folder could be made for the request: /run and /tmp are full or read-only; free some space"
    trap 'rm -rf "$W"' EXIT
    # Where a shell writes here-documents into files: never where anybody can fill the disk.
    TMPDIR=$W
    export TMPDIR
}

# Copies the whole request into the root-only folder, bounded, and cuts it apart: words become $verb and $word_KEY,
# parts become files of $W.
read_request() {
    limit=
    if have timeout; then limit='timeout 120'; fi
    total=
    {
        # shellcheck disable=SC2086 # words on purpose
        $limit head -c "$MAX_INPUT" &&
            # How far it was written: where the kernel says it, no process is needed to ask.
            { { read -r _ total; } 2>/dev/null </proc/self/fdinfo/1 || :; }
    } >"$W/in" || refuse disk "the request could not be stored or did not end in time"
    is_number "$total" || total=$(size_of "$W/in")
    [ "$total" -lt "$MAX_INPUT" ] || refuse bad-request "the request is longer than 32 MiB"
    # `read` and `dd` take from it exactly what they say; the next one goes on from there.
    exec 3<"$W/in"
    IFS= read -r line <&3 || refuse bad-request "the request has no first line"
    [ ${#line} -le 1000 ] || refuse bad-request "the first line of the request is too long"
    case $line in
    'ssh-ca-request v1 '*) ;;
    *) refuse bad-request "this is no request of version 1; bring the applier up to date with bootstrap" ;;
    esac
    spoken_for=$((${#line} + 1))
    word_nonce='' word_confirm=600 word_account='' word_admin='' word_pull='' word_now='' word_port=22 word_trust='' word_fetched='' word_succession=0 word_from=0 word_most=0
    set -f
    # shellcheck disable=SC2086 # words on purpose
    set -- $line
    set +f
    verb=$3
    shift 3
    for pair; do
        value=${pair#*=}
        case $pair in
        nonce=*) is_hex "$value" 32 && word_nonce=$value ;;
        confirm=*) is_number "$value" && word_confirm=$value ;;
        now=*) is_number "$value" && word_now=$value ;;
        from=*) is_number "$value" && word_from=$value ;;
        most=*) is_number "$value" && word_most=$value ;;
        port=*) is_number "$value" && word_port=$value ;;
        account=*) is_account "$value" && word_account=$value ;;
        pull=*) case $value in ca | place) word_pull=$value ;; *) false ;; esac ;;
        admin=*) is_account "$value" && word_admin=$value ;;
        trust=*) [ "$value" = replace ] && word_trust=$value ;;
        fetched=*) [ "$value" = yes ] && word_fetched=$value ;;
        succession=*) is_number "$value" && word_succession=$value ;;
        successions=* | fleet=* | admin-key=* | pull-key=* | krl-sig=* | krl=* | bundle-sig=* | bundle=* | order-sig=* | order=* | key=* | certificate=* | accounts=*)
            part=${pair%%=*}
            is_number "$value" && [ ! -e "$W/$part" ] && take "$value" "$W/$part" && { [ "$part" != krl ] || size_of_krl=$value; }
            ;;
        *) false ;;
        esac || refuse bad-request "a word of the request is wrong: ${pair%%=*}"
    done
    exec 3<&-
    [ "$spoken_for" -eq "$total" ] || refuse bad-request "the request is $total bytes where its words say $spoken_for"
    # It is gone with the folder anyway: only what is big is worth a process.
    if [ "$total" -gt 1048576 ]; then rm -f "$W/in"; fi
}

# Takes the next $1 bytes of the request into file $2.
take() {
    spoken_for=$((spoken_for + $1))
    [ "$spoken_for" -le "$total" ] || return 1
    if [ "$1" -eq 0 ]; then
        : >"$2"
        return
    fi
    case $2 in
    *-sig)
        # Text of a few lines: no process is needed for it.
        take_lines "$1" >"$2"
        case $? in
        0) ;;
        1) return 1 ;;
        *) refuse disk "the request could not be stored; free some space" ;;
        esac
        ;;
    *) dd bs="$1" count=1 <&3 >"$2" 2>/dev/null || refuse disk "the request could not be stored; free some space" ;;
    esac
}

# Prints the next $1 bytes of the request; fails with 1 where they are not whole lines of text, with 2 where they cannot be written.
take_lines() {
    left=$1
    while [ "$left" -gt 0 ] && IFS= read -r line <&3; do
        left=$((left - ${#line} - 1))
        printf '%s\n' "$line" || return 2
    done
    [ "$left" -eq 0 ]
}

# --- locks -----------------------------------------------------------------------------------------------------------------

# One lock for each lane: a configuration that hangs never holds up a revocation. Arguments: LANE TRIES.
lock() {
    if [ ! -d "$RUN" ]; then mkdir -p "$RUN" && chmod 700 "$RUN" || refuse disk "$RUN could not be made"; fi
    tries=0
    if have flock; then
        case $1 in
        krl) exec 8>>"$RUN/krl.lock" && fd=8 ;;
        pull) exec 7>>"$RUN/pull.lock" && fd=7 ;;
        *) exec 9>>"$RUN/config.lock" && fd=9 ;;
        esac || refuse disk "the lock in $RUN could not be opened"
        until flock -n "$fd"; do wait_for_lock "$1" "$2"; done
        return
    fi
    until mkdir "$RUN/$1.locked" 2>/dev/null; do
        holder=$(cat "$RUN/$1.locked/holder" 2>/dev/null)
        if process "${holder%% *}" && [ "$holder" = "${holder%% *} $started" ]; then
            wait_for_lock "$1" "$2"
        else
            # Its holder is gone. Two that see this at once: one of the two `mkdir` wins.
            sleep 1
            if [ "$(cat "$RUN/$1.locked/holder" 2>/dev/null)" = "$holder" ]; then rm -rf "$RUN/$1.locked"; fi
        fi
    done
    process $$ && echo "$$ $started" >"$RUN/$1.locked/holder"
}

wait_for_lock() {
    tries=$((tries + 1))
    [ "$tries" -le "$2" ] || refuse busy "another run holds the lock of the $1 lane on this machine; try again in a minute"
    sleep 1
}

unlock() {
    case $1 in
    krl) exec 8>&- ;;
    pull) exec 7>&- ;;
    *) exec 9>&- ;;
    esac
    if [ -d "$RUN/$1.locked" ]; then rm -rf "$RUN/$1.locked"; fi
}

# --- sshd --------------------------------------------------------------------------------------------------------------------

find_sshd() {
    for SSHD in /usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd /usr/bin/sshd; do
        [ ! -x "$SSHD" ] || break
    done
    # sshd checks its configuration only where this folder stands, which a stopped sshd may lack.
    [ -d /run/sshd ] || mkdir -p -m 755 /run/sshd 2>/dev/null || :
}

# `9.2p1`; empty where it cannot be read.
openssh_version() {
    words=$(ssh -V 2>&1)
    case $words in
    OpenSSH_[0-9]*)
        words=${words#OpenSSH_}
        printf '%s\n' "${words%%[!0-9p.]*}"
        ;;
    # Something else talks first.
    *) printf '%s\n' "$words" | sed -n 's/^OpenSSH_\([0-9][0-9.]*[p0-9]*\).*/\1/p' | head -n 1 ;;
    esac
}

# Each sshd process: `PID PPID UID EXE STARTED SOMEBODY ROOT`. A name or a title proves nothing; an executable of root's at a place where only
# root writes does, and each has one line, whatever its name. SOMEBODY is the uid of a child that serves a person, or `-`; ROOT is `root` where the title says that root is logged in.
sshd_processes() {
    # shellcheck disable=SC2012 # fixed names under /proc
    QUOTING_STYLE=escape ls -ln /proc/[0-9]*/exe 2>/dev/null | awk '
        function whole(path,    text, line) {
            text = ""
            while ((getline line < path) > 0) text = text " " line
            close(path)
            return text
        }
        {
            # The first arrow is the one of `ls`: an executable may have others in its own name.
            arrow = index($0, " -> ")
            target = substr($0, arrow + 4)
            sub(/\\? \(deleted\)$/, "", target)
            if (!arrow || target !~ /^(\/usr|\/usr\/local)?\/(s?bin\/sshd|lib(exec)?\/(openssh\/|ssh\/)?sshd-(session|auth))$/) next
            split(substr($0, index($0, " /proc/") + 1, arrow), path, "/")
            pid = path[3]
            stat = whole("/proc/" pid "/stat")
            # A name in parentheses may hold anything: count from the last parenthesis on.
            sub(/^.*\) /, "", stat)
            if (split(stat, field, " ") < 20) next
            owner = ""
            while ((getline line < ("/proc/" pid "/status")) > 0)
                if (split(line, word, " ") && word[1] == "Uid:") { owner = word[2]; break }
            close("/proc/" pid "/status")
            if (owner == "") next
            # Of the processes of root alone: a local user can give his own a command line that takes hours to read.
            title = ""
            if (owner == 0) { getline title < ("/proc/" pid "/cmdline"); close("/proc/" pid "/cmdline") }
            root = "-"
            if (title ~ /^sshd.*: root@/ && title !~ /\[(listener|priv|accepted)\]/) root = "root"
            n++
            pids[n] = pid; parent[n] = field[2]; uid[n] = owner; exe[n] = target; began[n] = field[20]; as[n] = root
        }
        END {
            if (!n) exit
            sshd = ""
            while ((getline line < "/etc/passwd") > 0)
                if (line ~ /^sshd:/) { split(line, word, ":"); sshd = word[3]; break }
            if (sshd == "") { "id -u sshd 2>/dev/null" | getline sshd }
            for (i = 1; i <= n; i++)
                if (uid[i] != 0 && uid[i] != sshd && !(parent[i] in serves)) serves[parent[i]] = uid[i]
            for (i = 1; i <= n; i++)
                print pids[i], parent[i], uid[i], exe[i], began[i], (pids[i] in serves) ? serves[pids[i]] : "-", as[i]
        }'
}
