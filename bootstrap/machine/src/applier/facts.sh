
# === facts: how this machine stands, for the CA to judge =======================================================================
# Read only, and nothing is decided here. Every text is somebody's: bounded in length and number, without control characters.

TAB=$(printf '\t')
SSHD_WORDS='^(trustedusercakeys|revokedkeys|authorizedprincipalsfile|authorizedprincipalscommand|authorizedkeysfile|authorizedkeyscommand|authenticationmethods|pubkeyauthentication|passwordauthentication|kbdinteractiveauthentication|hostbasedauthentication|permitrootlogin|permitemptypasswords|strictmodes|usepam|allowusers|denyusers|allowgroups|denygroups|hostcertificate|hostkey) '
CONFIG_WORDS='^(trustedusercakeys|revokedkeys|authorizedprincipalsfile|authorizedprincipalscommand|authorizedkeysfile|authorizedkeyscommand|authenticationmethods|pubkeyauthentication|passwordauthentication|kbdinteractiveauthentication|usepam|allowusers|denyusers|allowgroups|denygroups|match)$'

# What may take long is bounded.
within() { # SECONDS COMMAND…
    seconds=$1
    shift
    if have timeout; then timeout "$seconds" "$@"; else "$@"; fi
}

# Collects the facts into $W/facts, one a line, its fields parted by tabs.
facts() {
    : >"$W/facts"
    find_sshd
    list_config_files
    config_line_facts
    account_facts
    sudo_facts
    place_facts
}

# Lines of sshd's configuration that are not the CA's and may stand against it, in the order in which they are read.
config_line_facts() {
    while read -r file; do
        [ "$file" != "$DROP_IN" ] || continue
        awk -v file="$file" -v words="$CONFIG_WORDS" '
            { line = $0; gsub(/\t/, " ", line); sub(/^ +/, "", line); word = tolower(line); sub(/[ =].*/, "", word) }
            word ~ words { sub(/^[^ =]+[ =]+/, "", line); print "config-line\t" file "\t" NR "\t" word "\t" substr(line, 1, 300); if (++n == 100) exit }' \
            "$file" 2>/dev/null
    done <"$W/config-files" >>"$W/facts"
}

# `NAME:UID:SHELL:HOME:EXPIRY:PASSWORD:GROUPS` of every account, the password as `set`, `none`, `locked` or `no`.
list_accounts() {
    { getent passwd 2>/dev/null || cat /etc/passwd; } >"$W/passwd"
    awk -F: '
        FILENAME ~ /group$/ { name[$3] = $1; n = split($4, m, ","); for (i = 1; i <= n; i++) more[m[i]] = more[m[i]] "," $1; next }
        FILENAME ~ /shadow$/ {
            expiry[$1] = $8
            password[$1] = $2 == "" ? "none" : $2 ~ /^!/ ? "locked" : $2 ~ /^\*/ ? "no" : "set"
            next
        }
        !($1 in seen) && $1 ~ /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/ {
            seen[$1] = 1
            if (++count > 400) exit
            print $1 ":" $3 ":" $7 ":" $6 ":" expiry[$1] ":" ($1 in password ? password[$1] : "no") ":" ($4 in name ? name[$4] : $4) more[$1]
        }' /etc/group /etc/shadow "$W/passwd"
}

# Sets number: which of sshd's distinct answers, in $W/says.NUMBER, holds for account $1.
ask_for() {
    "$SSHD" -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null | grep -E "$SSHD_WORDS" >"$W/says"
    number=1
    while [ -e "$W/says.$number" ]; do
        if cmp -s "$W/says" "$W/says.$number"; then return; fi
        number=$((number + 1))
    done
    mv "$W/says" "$W/says.$number"
}

account_facts() {
    # Nobody has this name: what holds for it holds for everybody whom no Match names. It is answer 1.
    ask_for ssh-ca-nobody
    # Without a Match of the site's own, only the CA's tells accounts apart, and it names them.
    own_match=yes
    if grep -q "^config-line${TAB}[^$TAB]*${TAB}[0-9]*${TAB}match$TAB" "$W/facts"; then own_match=no; fi
    named=$(sed -n 's/^Match User //p' "$DROP_IN" 2>/dev/null | tr ',\n' '  ')
    list_accounts >"$W/all-accounts"
    while IFS=: read -r name uid shell home expiry password groups; do
        origin=
        if is_account "$name"; then marker_of "$name" && origin=$marked_origin; fi
        number=1
        case " $named root ssh-admin ssh-ca-sync ssh-ca-probe " in
        *" $name "*) ask_for "$name" ;;
        *) if [ "$own_match" = no ] || [ -n "$origin" ]; then ask_for "$name"; fi ;;
        esac
        printf 'account\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
            "$name" "$uid" "$shell" "$home" "$expiry" "$password" "$origin" "$number" "$groups" >>"$W/facts"
        key_facts "$name" "$uid" "$home" "$number"
    done <"$W/all-accounts"
    for answer in "$W"/says.*; do
        awk -v number="${answer##*.}" '{ word = $1; sub(/^[^ ]+ /, ""); print "sshd\t" number "\t" word "\t" substr($0, 1, 1000) }' "$answer"
    done >>"$W/facts"
}

# Every key of the files that sshd would read for an account, and whether it would (StrictModes). Arguments: NAME UID HOME ANSWER.
key_facts() {
    case $3 in '' | *[!A-Za-z0-9/._-]*) return 0 ;; esac
    patterns=$(sed -n 's/^authorizedkeysfile //p' "$W/says.$4")
    set -f
    for pattern in $patterns; do
        file=$pattern
        case $pattern in
        none) continue ;;
        *%*) file=$(printf '%s\n' "$pattern" | sed "s#%h#$3#g; s#%u#$1#g; s#%U#$2#g; s#%%#%#g") ;;
        esac
        case $file in /*) ;; *) file=${3%/}/$file ;; esac
        # Not a pipe or a device that an account put there to hold root up; the bound is for one that is swapped in afterwards.
        [ -f "$file" ] && [ -s "$file" ] || continue
        heeded=yes
        if ! grep -qx 'strictmodes no' "$W/says.$4"; then
            for path in "$file" "${file%/*}" "$3"; do
                case $(stat -L -c '%u %a' "$path" 2>/dev/null) in
                "$2 "*[2367]? | "$2 "*[2367] | '0 '*[2367]? | '0 '*[2367]) heeded=no ;;
                "$2 "* | '0 '*) ;;
                *) heeded=no ;;
                esac
            done
        fi
        within 10 head -c 262144 "$file" 2>/dev/null | tr -d '\000' | awk -v account="$1" -v file="$file" -v heeded="$heeded" '
            BEGIN {
                OFS = "\t"
                kind = "(ssh-(ed25519|rsa|dss)|ecdsa-sha2-nistp[0-9]+|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\\.com)(-cert-v01@openssh\\.com)?[ \t]+AAAA[A-Za-z0-9+\\/=]+"
            }
            /^[ \t]*(#|$)/ { next }
            match($0, kind) {
                if (++n > 500) next
                options = substr($0, 1, RSTART - 1); key = substr($0, RSTART, RLENGTH); comment = substr($0, RSTART + RLENGTH)
                split(key, part, /[ \t]+/)
                gsub(/[ \t]+/, " ", options); gsub(/[ \t]+/, " ", comment); sub(/^ /, "", options); sub(/ $/, "", options); sub(/^ /, "", comment)
                if (length(part[2]) > 6000) next
                print "key", account, file, FNR, heeded, part[1], part[2], substr(options, 1, 300), substr(comment, 1, 200)
            }
            END { if (n > 500) print "cut", "keys", n - 500 }' >>"$W/facts"
        # sshd reads to the end: a key behind this is told of, if not which.
        if [ "$(stat -L -c %s "$file" 2>/dev/null || echo 0)" -gt 262144 ]; then printf 'cut\tfiles of keys, longer than 256 KiB,\t1\n' >>"$W/facts"; fi
    done
    set +f
}

# Who may become whom, by files that are not the CA's.
sudo_facts() {
    for file in /etc/sudoers /etc/sudoers.d/* /etc/doas.conf /etc/doas.d/*.conf; do
        # sudo itself passes these names over.
        case ${file##*/} in
        ssh-ca) continue ;;
        doas.conf | sudoers) ;;
        *.* | *~) case $file in /etc/doas.d/*) ;; *) continue ;; esac ;;
        esac
        [ -f "$file" ] || continue
        awk -v file="$file" -v owner="$(stat -c '%u %a' "$file")" '
            BEGIN { OFS = "\t" }
            { line = held $0; held = "" }
            /\\$/ { sub(/\\$/, " ", line); held = line; next }
            { gsub(/[ \t]+/, " ", line); sub(/^ /, "", line) }
            line == "" || line ~ /^#($|[^0-9])/ || line ~ /^@include/ || line ~ /^(Defaults|User_Alias|Runas_Alias|Host_Alias|Cmnd_Alias|Cmd_Alias)/ { next }
            { if (++n > 100) exit; print "sudo", file, NR, owner, substr(line, 1, 300) }' "$file"
    done >>"$W/facts"
}

place_facts() {
    sed -n 's/^hostkey //p' "$W/says.1" | while read -r key; do
        [ -f "$key.pub" ] || continue
        printf 'host-key\t%s\t%s\n' "$key" "$(ssh-keygen -l -f "$key.pub" 2>/dev/null | cut -d' ' -f2)"
    done >>"$W/facts"
    if [ -f "$STATE/manifest" ]; then printf 'manifest\t%s\n' "$(sha256 "$STATE/manifest")" >>"$W/facts"; fi
    for place in /etc/ssh "$STATE"; do
        printf 'disk\t%s\t%s\n' "$place" "$(free_kib "$place")" >>"$W/facts"
    done
}

# Prints the facts as JSON lines.
print_facts() {
    tr -d '\000-\010\013-\037\177' <"$W/facts" | sed 's/\\/\\\\/g; s/"/\\"/g' | awk -F'\t' '
        function text(name, value) { return ",\"" name "\":\"" value "\"" }
        function number(name, value) { return ",\"" name "\":" (value ~ /^(0|[1-9][0-9]*)$/ && length(value) < 19 ? value : "null") }
        # Nineteen digits fit into 64 bits, whatever they are.
        function serial(name, value) { return ",\"" name "\":" (value ~ /^(0|[1-9][0-9]*)$/ && length(value) < 20 ? value : "null") }
        function line(fact, rest) { return "{\"step\":\"fact\",\"fact\":\"" fact "\"" rest "}" }
        function say(fact, rest) { print line(fact, rest) }
        # What a local user can write has a share of the answer and no more: whoever fills it keeps nobody from hearing the rest.
        function share(what, most, whole) {
            spent[what] += length(whole) + 1
            if (spent[what] > most) { left_out[what]++; return }
            print whole
        }
        $1 == "config-line" { say($1, text("file", $2) number("line", $3) text("word", $4) text("value", $5)) }
        $1 == "account" {
            say($1, text("name", $2) number("uid", $3) text("shell", $4) text("home", $5) number("expiry_day", $6) text("password", $7) \
                text("origin", $8) number("answer", $9) text("groups", $10))
        }
        $1 == "sshd" { say($1, number("answer", $2) text("word", $3) text("value", $4)) }
        $1 == "key" {
            if (++keys > 600) { left_out["keys"]++; next }
            share("keys", 400000, line($1, text("account", $2) text("file", $3) number("line", $4) ",\"heeded\":" ($5 == "yes" ? "true" : "false") text("algorithm", $6) \
                text("blob", $7) text("options", $8) text("comment", $9)))
        }
        $1 == "sudo" { say($1, text("file", $2) number("line", $3) text("owner", $4) text("rule", $5)) }
        $1 == "host-key" { say($1, text("file", $2) text("fingerprint", $3)) }
        $1 == "manifest" { say($1, text("sha256", $2)) }
        $1 == "disk" { say($1, text("place", $2) number("free_kib", $3)) }
        $1 == "log" { say($1, text("source", $2) number("since_unix", $3)) }
        $1 == "certificate-login" {
            share("logins with certificates", 150000, \
                line($1, text("at", $2) text("account", $3) text("from", $4) text("key_id", $5) serial("serial", $6) text("ca", $7)))
        }
        $1 == "login" { share("logins with keys", 200000, line($1, text("account", $2) text("fingerprint", $3) number("at_unix", $4))) }
        $1 == "cut" { left_out[$2] += $3 }
        END { for (what in left_out) say("cut", text("what", what) number("left_out", left_out[what])) }'
}
