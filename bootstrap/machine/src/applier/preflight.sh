
# === preflight: what stands in the way, read only ================================================================================

# Arguments: CODE WHAT REMEDY [FILE LINE].
obstacle() { finding obstacle "$@"; }
caution() { finding warning "$@"; }
finding() {
    printf '{"found":"%s","code":"%s","what":"%s","remedy":"%s","file":"%s","line":%s}\n' \
        "$1" "$2" "$(json "$3")" "$(json "$4")" "$(json "${5-}")" "${6:-0}"
}

# Sets at_file and at_line to the first line with keyword $1 in sshd's configuration.
locate() {
    at_file='' at_line=0
    while read -r file; do
        [ "$file" != "$DROP_IN" ] || continue
        at_line=$(awk -v word="$1" '{ line = tolower($0); sub(/^[ \t]+/, "", line); split(line, w, /[ \t=]+/) } w[1] == word { print NR; exit }' "$file")
        if [ -n "$at_line" ]; then
            at_file=$file
            return
        fi
    done <"$W/config-files"
    at_line=0
}

# What sshd says for account $1, word $2; several lines where there are several.
says() { sed -n "s/^$2 //p" "$W/says.$1"; }

ask_sshd() {
    "$SSHD" -T -C "user=$1,host=localhost,addr=127.0.0.1" >"$W/says.$1" 2>"$W/words"
}

look_at_sshd() {
    version=$(openssh_version)
    major=${version%%.*} minor=${version#*.}
    minor=${minor%%[!0-9]*}
    if [ -z "$version" ] || ! is_number "$major" || ! is_number "$minor"; then
        obstacle no-openssh "OpenSSH's version cannot be told" "install openssh-client and openssh-server"
    elif [ "$major" -lt 8 ] || { [ "$major" -eq 8 ] && [ "$minor" -lt 2 ]; }; then
        obstacle old-openssh "OpenSSH $version is older than 8.2 and cannot verify signatures" "upgrade openssh to 8.2 or newer"
    fi
    find_sshd
    if [ ! -x "$SSHD" ]; then
        obstacle no-sshd "there is no sshd in /usr/sbin" "install openssh-server"
        return
    fi
    if [ ! -f "$SSHD_CONFIG" ]; then
        obstacle no-config "$SSHD_CONFIG does not exist" "restore it from the distribution's package" "$SSHD_CONFIG"
        return
    fi
    list_config_files
    if ! ask_sshd ssh-ca-sync; then
        obstacle bad-config "sshd does not accept its own configuration: $(head -c 300 "$W/words")" "run 'sshd -t' and mend what it names" "$SSHD_CONFIG"
        return
    fi
    { echo ssh-ca-sync && echo ssh-ca-probe && awk '{ print $1 }' "$W/accounts"; } >"$W/names"
    look_at_doors
    look_at_foreign_ca
    case $(says ssh-ca-sync pubkeyauthentication) in
    no) locate pubkeyauthentication && obstacle no-pubkey "sshd refuses every key and certificate (PubkeyAuthentication no)" "remove the line" "$at_file" "$at_line" ;;
    esac
    case $(says ssh-ca-sync usepam) in
    no) locate usepam && obstacle no-pam "sshd does not use PAM, so neither the expiry of accounts nor the record of sessions would work (UsePAM no)" "set UsePAM yes" "$at_file" "$at_line" ;;
    esac
    case $(says ssh-ca-sync authenticationmethods) in
    '' | any | publickey) ;;
    *) # Ours would win and take the site's second factor away.
        if [ ! -e "$DROP_IN" ]; then
            locate authenticationmethods
            obstacle authentication-methods "the site asks for '$(says ssh-ca-sync authenticationmethods)'; a certificate alone would not do, and the CA would override it for its accounts" \
                "remove AuthenticationMethods, or put it into a Match for the accounts that it is for" "$at_file" "$at_line"
        fi ;;
    esac
    if ! says ssh-ca-sync port | grep -qx "$word_port"; then
        caution other-port "this login came by port $word_port, but sshd listens on $(says ssh-ca-sync port | paste -sd, -)" "nothing, if the port is forwarded; else correct the address"
    fi
}

# AllowUsers and its kin, for each account that the CA will need.
look_at_doors() {
    shut=
    while read -r name; do
        ask_sshd "$name" || continue
        for word in denyusers allowusers; do
            patterns=$(says "$name" "$word")
            [ -n "$patterns" ] || continue
            matched=no
            set -f
            for pattern in $patterns; do
                # shellcheck disable=SC2254 # a pattern on purpose
                case $name in ${pattern%%@*}) matched=yes ;; esac
            done
            set +f
            case $word$matched in denyusersyes | allowusersno) shut="$shut $name" && by=$word ;; esac
        done
    done <"$W/names"
    if [ -n "$shut" ]; then
        locate "$by"
        obstacle allow-users "$by would shut out:$shut" "let these accounts in there, or remove the line" "$at_file" "$at_line"
    fi
    groups=$(says ssh-ca-sync allowgroups)
    case " $groups " in
    '  ' | *' * '*) ;;
    *) locate allowgroups && obstacle allow-groups "AllowGroups ($groups) would shut out the accounts that the CA makes" "remove the line, or name the accounts' own groups there" "$at_file" "$at_line" ;;
    esac
    if [ -n "$(says ssh-ca-sync denygroups)" ]; then
        locate denygroups
        caution deny-groups "DenyGroups is set" "make sure that it names none of the CA's accounts' groups" "$at_file" "$at_line"
    fi
    if grep -qsE '^[^#]*pam_access' "$PAM_SSHD" && grep -qsE '^[[:space:]]*[-+]' /etc/security/access.conf; then
        caution pam-access "pam_access restricts who may log in" "let ssh-ca-sync, ssh-ca-probe and the employees' accounts in there" /etc/security/access.conf
    fi
    if [ -e /etc/nologin ]; then obstacle nologin "/etc/nologin stands there, so PAM lets only root in" "remove it" /etc/nologin; fi
}

look_at_foreign_ca() {
    for pair in "trustedusercakeys $CA/user_ca.pub" "revokedkeys $KRL" "authorizedprincipalsfile $CA/principals/%u" \
        "authorizedprincipalscommand none"; do
        word=${pair%% *}
        value=$(says ssh-ca-probe "$word")
        case $value in '' | none | "${pair#* }") continue ;; esac
        locate "$word"
        obstacle foreign-ca "sshd has a $word of its own already: $value" "remove the line, or move what it names to this CA" "$at_file" "$at_line"
    done
}

look_at_system() {
    for tool in awk cat cmp cut date dd df diff getent grep head id ls mktemp mv paste readlink sed sha256sum sort stat sync tail tr wc ssh-keygen; do
        have "$tool" || obstacle no-tool "the program $tool is missing" "install it"
    done
    have useradd || have adduser || obstacle no-tool "neither useradd nor adduser is there" "install passwd (shadow)"
    sudo=
    if have sudo; then
        sudo=sudo
        grep -qsE '^[#@]includedir[[:space:]]+/etc/sudoers\.d' /etc/sudoers ||
            obstacle no-sudoers-d "/etc/sudoers does not include /etc/sudoers.d" "add the line '@includedir /etc/sudoers.d'" /etc/sudoers
    else
        if have doas; then sudo=doas; fi
        obstacle no-sudo "sudo is missing, by which ssh-ca-sync may run the applier" "install sudo"
    fi
    find_timer
    [ -n "$timer" ] || obstacle no-timer "nothing could put a change back by itself: neither systemd, nor a running cron, nor OpenRC" "install and start cron"
    look_at_fetching
    for socket in ssh.socket sshd.socket; do
        if have systemctl && systemctl is-active --quiet "$socket" 2>/dev/null; then
            obstacle socket-activation "sshd is started by $socket" "run 'systemctl disable --now $socket && systemctl enable --now ${socket%.socket}.service'"
        fi
    done
    if [ "$(cat /sys/fs/selinux/enforce 2>/dev/null)" = 1 ]; then
        obstacle selinux "SELinux is enforcing, under which sshd may not run the session record" "set it to permissive, or load a policy for $STATE first"
    fi
    for folder in /etc /etc/ssh /var/lib; do
        if [ ! -w "$folder" ]; then
            obstacle read-only "$folder cannot be written" "mount it read-write" "$folder"
        else
            left=$(free_kib "$folder")
            [ "${left:-0}" -ge 8192 ] || obstacle full-disk "only ${left:-0} KiB are free on the disk of $folder" "free at least 8 MiB" "$folder"
        fi
    done
    for file in "$SSHD_CONFIG" "$PAM_SSHD"; do
        case $(lsattr -d "$file" 2>/dev/null | cut -d' ' -f1) in
        *i*) obstacle immutable "$file is immutable" "run 'chattr -i $file'" "$file" ;;
        esac
    done
    if is_number "$word_now"; then
        skew=$(($(now) - word_now))
        if [ "${skew#-}" -gt 60 ]; then
            obstacle clock "this machine's clock is ${skew#-} s $([ "$skew" -gt 0 ] && echo ahead || echo behind)" "set the clock (systemd-timesyncd or chrony), then try again"
        fi
    fi
    look_at_management
    if [ -d "$STATE/pending" ]; then
        caution pending "an earlier change still waits for its confirmation; the apply puts it back first" "nothing"
    fi
}

# Only where the machine is to fetch for itself: from the CA (`ca`), or from a place that anybody may read (`place`).
look_at_fetching() {
    [ -n "$word_pull" ] || return 0
    if ! have curl; then
        if ! have wget; then
            obstacle no-fetcher "neither curl nor wget is there, and the machine is to fetch for itself" "install curl"
        elif [ "$word_pull" = ca ]; then
            case $(wget --version 2>/dev/null | head -n 1) in
            'GNU Wget'*) ;;
            *) obstacle no-fetcher "the wget here checks no certificate and cannot keep a token to itself" "install curl, or GNU wget" ;;
            esac
        fi
    fi
    if [ "$word_pull" = place ] && ! have openssl; then
        caution no-openssl "openssl is missing, so the machine cannot read an encrypted tree" "install openssl, or publish with --plain, where whoever reads the place sees names of people"
    fi
}

# Something that writes these files itself would undo the CA's work, or fight with it.
look_at_management() {
    marked=no
    for file in "$SSHD_CONFIG" /etc/sudoers "$PAM_SSHD"; do
        line=$(grep -niE '^#.*(managed by|generated by|controlled by|maintained by).*(puppet|chef|ansible|salt|cfengine|terraform)|^#.*ansible managed' "$file" 2>/dev/null | head -n 1 | cut -d: -f1)
        if [ -n "$line" ]; then
            marked=yes
            obstacle config-management "$file says that a configuration management writes it" "take $file (and sshd's drop-ins) out of its care first" "$file" "$line"
        fi
    done
    [ "$marked" = no ] || return 0
    for agent in /opt/puppetlabs/bin/puppet /usr/bin/puppet /usr/bin/chef-client /usr/bin/salt-minion /usr/bin/ansible-pull; do
        if [ -x "$agent" ]; then
            caution config-management "$agent is installed" "make sure that it does not write sshd's configuration, PAM's or sudo's"
        fi
    done
}

look_at_accounts() {
    while read -r name uid; do
        is_account "$name" || continue
        has=$(getent passwd "$name" | cut -d: -f3)
        marker=$STATE/accounts/$name
        if [ "$uid" = - ]; then
            [ -n "$has" ] || obstacle no-account "the account $name is to be adopted, but does not exist here" "leave --adopt $name out"
            continue
        fi
        holder=$(getent passwd "$uid" | cut -d: -f1)
        if [ -n "$has" ] && [ ! -e "$marker" ]; then
            obstacle account-exists "the account $name (uid $has) exists here, and the CA did not make it" "add --adopt $name to take it over, or choose another account name" /etc/passwd \
                "$(grep -n "^$name:" /etc/passwd | cut -d: -f1)"
        elif [ -n "$holder" ] && [ "$holder" != "$name" ]; then
            obstacle uid-taken "uid $uid is to be $name's, but $holder has it here" "give $holder another uid, or the CA another range" /etc/passwd \
                "$(grep -n "^$holder:" /etc/passwd | cut -d: -f1)"
        elif [ -z "$has" ] && grep -q "^$name:" /etc/group; then
            obstacle group-exists "a group $name exists here, so the account of that name cannot be made" "rename the group" /etc/group \
                "$(grep -n "^$name:" /etc/group | cut -d: -f1)"
        elif [ -z "$has" ] && { [ -L "/home/$name" ] || { [ -e "/home/$name" ] && [ "$(stat -c %u "/home/$name")" != "$uid" ]; }; }; then
            obstacle home-exists "/home/$name stands here and is not uid $uid's, so whoever owns it would own what $name runs" "move it away" "/home/$name"
        fi
    done <"$W/accounts"
    if [ -n "$(getent passwd ssh-ca-sync)" ] && [ ! -e "$STATE/accounts/ssh-ca-sync" ]; then
        case $(getent passwd ssh-ca-sync) in
        *':SSH certificate authority:'*) ;;
        *) obstacle account-exists "an account ssh-ca-sync exists here that is not the CA's" "rename it" /etc/passwd ;;
        esac
    fi
}

[ "$(id -u)" = 0 ] || refuse failed "the look at the machine must run as root"
make_work
read_request
[ "$verb" = preflight ] || refuse bad-request "this script only looks"
[ -e "$W/accounts" ] || : >"$W/accounts"
: >"$W/says.ssh-ca-sync"
look_at_system
look_at_sshd
look_at_accounts

while read -r key; do
    if [ -f "$key.pub" ]; then printf '{"found":"host-key","line":"%s"}\n' "$(cut -d' ' -f1,2 "$key.pub" | tr -dc 'A-Za-z0-9+/=@. -')"; fi
done <<END
$(says ssh-ca-sync hostkey)
END
generation=0 krl_version=0
if [ -s "$STATE/generation" ]; then read -r generation _ <"$STATE/generation"; fi
if [ -s "$STATE/krl" ]; then read -r krl_version _ <"$STATE/krl"; fi
os=$(sed -n 's/^PRETTY_NAME="*\([^"]*\)"*$/\1/p' /etc/os-release 2>/dev/null | head -n 1)
ports=$(says ssh-ca-sync port | grep -xE '[0-9]{1,5}' | paste -sd, -)
printf '{"found":"facts","openssh":"%s","os":"%s","hostname":"%s","timer":"%s","sudo":"%s","clock_unix":%s,"ports":[%s],"generation":%s,"krl_version":%s}\n' \
    "$(openssh_version)" "$(json "$os")" "$(json "$(uname -n)")" "$timer" "$sudo" "$(now)" "$ports" "$((generation))" "$((krl_version))"
echo '{"found":"done"}'
