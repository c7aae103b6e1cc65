
# === when a static key was last really used =====================================================================================
# By sshd's own log. A local user may write such lines into syslog too: they are shown to a person, and decide nothing.

# Prints `STAMP<tab>ACCOUNT<tab>FINGERPRINT` for the last login of each key in a log on standard input, and first `since<tab>STAMP`. With
# `unix`, a line begins with seconds since 1970; otherwise as syslog writes it, with a month or with an ISO date.
last_logins() {
    awk -v form="$1" '
        { stamp = form == "unix" || $1 ~ /^[0-9][0-9][0-9][0-9]-/ ? $1 : $1 " " $2 " " $3 }
        NR == 1 { print "since\t" stamp }
        / sshd(-session|-auth)?(\[[0-9]+\])?: Accepted publickey for / {
            account = ""; print_of = ""
            for (i = 1; i < NF; i++) {
                if ($i == "for" && account == "") account = $(i + 1)
                if ($i == "ssh2:") { kind = $(i + 1); print_of = $(i + 2); break }
            }
            if (print_of ~ /^SHA256:[A-Za-z0-9+\/]+$/ && length(print_of) == 50 && kind !~ /-CERT$/ && length(account) <= 64) last[account "\t" print_of] = stamp
        }
        END { for (key in last) { if (++n > 600) exit; print last[key] "\t" key } }'
}

# Seconds since 1970 of a stamp; nothing where it cannot be told. Without a year, it is the last such day.
unix_of() {
    case $1 in
    [0-9]*.[0-9]*) case ${1%%.*} in *[!0-9]*) ;; *) echo "${1%%.*}" && return ;; esac ;;
    esac
    at=$(date -d "$1" +%s 2>/dev/null) || return 0
    if [ "$at" -gt $(($(now) + 86400)) ]; then
        at=$(date -d "$1 $(($(date +%Y) - 1))" +%s 2>/dev/null) || return 0
    fi
    echo "$at"
}

login_facts() {
    : >"$W/logins"
    if have journalctl && [ -d /run/systemd/system ]; then
        # Fields with an underscore are journald's own word: no user can forge them.
        within 30 journalctl -q --no-pager -o short-unix _UID=0 _COMM=sshd _COMM=sshd-session 2>/dev/null | last_logins unix >"$W/last"
        note_logins journal
    fi
    # shellcheck disable=SC2012,SC2045 # names of logs, looked at below; the order by age is what is asked for
    for log in $(ls -1tr /var/log/auth.log* /var/log/secure* /var/log/messages* 2>/dev/null); do
        case $log in *[!A-Za-z0-9/._-]*) continue ;; esac
        case $log in
        *.gz) within 30 zcat "$log" 2>/dev/null ;;
        *.xz | *.zst | *.bz2) ;;
        *) within 30 cat "$log" 2>/dev/null ;;
        esac | grep -a ' sshd' | last_logins syslog >"$W/last"
        note_logins "$log"
    done
    # The newest of each, whichever log has it.
    sort -t"$TAB" -k3,3n "$W/logins" | awk -F'\t' '{ at[$1 "\t" $2] = $3 } END { for (key in at) print "login\t" key "\t" at[key] }' >>"$W/facts"
}

note_logins() { # SOURCE
    while IFS=$TAB read -r stamp account fingerprint; do
        if [ "$stamp" = since ]; then
            printf 'log\t%s\t%s\n' "$1" "$(unix_of "$account")" >>"$W/facts"
            continue
        fi
        at=$(unix_of "$stamp")
        if [ -n "$at" ]; then printf '%s\t%s\t%s\n' "$account" "$fingerprint" "$at" >>"$W/logins"; fi
    done <"$W/last"
}

# === logins with certificates ====================================================================================================

# Logs that sshd may write to, the newest last.
plain_logs() {
    # shellcheck disable=SC2012 # names of logs, looked at below
    ls -1tr /var/log/auth.log /var/log/auth.log.1 /var/log/secure /var/log/messages 2>/dev/null
}

# The last logins with a certificate of each account and certificate, from a log on standard input, as facts. Those of the break-glass account are all told.
certificate_logins() { # FORM
    awk -v form="$1" '
        / sshd(-session|-auth)?(\[[0-9]+\])?: Accepted publickey for .* ID .* \(serial [0-9]+\) CA / {
            stamp = form == "unix" || $1 ~ /^[0-9][0-9][0-9][0-9]-/ ? $1 : $1 " " $2 " " $3
            account = ""; from = ""; id = ""; serial = ""; ca = ""
            for (i = 1; i < NF; i++) {
                if ($i == "for" && account == "") account = $(i + 1)
                if ($i == "from" && from == "") from = $(i + 1)
                if ($i == "ID" && id == "") id = $(i + 1)
                if ($i == "(serial" && serial == "") { serial = $(i + 1); sub(/\).*/, "", serial) }
                if ($i == "CA" && ca == "") ca = $(i + 2)
            }
            if (ca !~ /^SHA256:[A-Za-z0-9+\/]+$/ || length(ca) != 50 || length(account) > 64 || length(id) > 200 || length(from) > 64 || length(serial) > 19) next
            fact = "certificate-login\t" stamp "\t" account "\t" from "\t" id "\t" serial "\t" ca
            if (account == "breakglass") { glass[++g] = fact; next }
            # By all that it says: whoever can write into syslog hides no login behind a later line with its serial.
            who = account "\t" id "\t" serial "\t" ca
            if (!(who in last)) order[++n] = who
            last[who] = fact
        }
        END {
            for (k = g > 100 ? g - 99 : 1; k <= g; k++) print glass[k]
            for (k = n > 200 ? n - 199 : 1; k <= n; k++) print last[order[k]]
            if (g > 100 || n > 200) print "cut\tlogins with certificates\t" ((g > 100 ? g - 100 : 0) + (n > 200 ? n - 200 : 0))
        }'
}

certificate_facts() {
    if have journalctl && [ -d /run/systemd/system ]; then
        within 30 journalctl -q --no-pager -o short-unix --since=-8d _UID=0 _COMM=sshd _COMM=sshd-session 2>/dev/null |
            certificate_logins unix >>"$W/facts"
    fi
    for log in $(plain_logs); do
        within 30 cat "$log" 2>/dev/null | grep -a ' sshd' | certificate_logins syslog >>"$W/facts"
    done
}
