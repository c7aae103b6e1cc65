
# === would sshd and sudo take it? ================================================================================================
# Judged before anything is in place, on a staged copy of sshd's configuration, and again afterwards on the real one.

# Makes $W/tree: sshd's configuration as it will be. Sets staged_config.
stage_config() {
    mkdir -p "$W/tree/ca/principals" "$W/tree/sshd_config.d"
    cp -p /etc/ssh/sshd_config.d/*.conf "$W/tree/sshd_config.d/" 2>/dev/null
    staged_config=$W/tree/sshd_config
    while read -r number _ _ _ path; do
        case $path in
        "$CA"/*) cp "$W/stage/$number" "$W/tree/ca/${path#"$CA"/}" ;;
        "$DROP_IN") sed "s#$CA/#$W/tree/ca/#g" "$W/stage/$number" >"$W/tree/sshd_config.d/00-ssh-ca.conf" ;;
        esac
    done <"$W/files"
    cp "$KRL" "$W/tree/ca/revoked.krl" 2>/dev/null
    config=$SSHD_CONFIG
    if [ -f "$W/stage/sshd_config" ]; then config=$W/stage/sshd_config; fi
    # Relative paths are relative to /etc/ssh.
    sed -e '/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]]/ {' \
        -e "s#\\([[:space:]\"]\\)sshd_config\\.d/#\\1$W/tree/sshd_config.d/#g" \
        -e "s#/etc/ssh/sshd_config\\.d/#$W/tree/sshd_config.d/#g" -e '}' "$config" >"$staged_config"
}

# sshd's own answer for an account, sorted. Arguments: CONFIG ACCOUNT.
effective() {
    "$SSHD" -T -f "$1" -C "user=$2,host=localhost,addr=127.0.0.1" 2>"$W/words" | sed "s#$W/tree/ca/#$CA/#g" | sort
}

# Refuses unless sshd's answer for account $2 under configuration $1 has each line of standard input.
must_say() {
    effective "$1" "$2" >"$W/effective"
    [ -s "$W/effective" ] || { complaint="sshd cannot say what would hold for $2: $(head -c 300 "$W/words")" && return 1; }
    while read -r line; do
        grep -qxiF "$line" "$W/effective" || {
            word=${line%% *}
            complaint="for the account $2 sshd would go by '$(grep -i "^$word " "$W/effective" | head -n 1)' instead of '$line'; another file of its configuration wins, remove that line"
            return 1
        }
    done
}

# Accounts that the CA did not make, of those on this machine, to look at: root and the first person's.
foreign_accounts() {
    echo root
    awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }' /etc/passwd | while read -r name; do
        if ! grep -q "^$name " "$W/accounts-wanted" && [ ! -e "$STATE/accounts/$name" ]; then echo "$name"; fi
    done | head -n 2
}

# What sshd said for foreign accounts before anything changed, to compare with afterwards.
remember_foreign() {
    foreign_accounts >"$W/foreign"
    # To enforce, or to stop, is to change what holds for them.
    if grep -qs '^Match User \*' "$W/drop-in" "$DROP_IN"; then : >"$W/foreign"; fi
    while read -r name; do
        effective "$SSHD_CONFIG" "$name" >"$W/before.$name"
    done <"$W/foreign"
}

OWN_WORDS='^(trustedusercakeys|revokedkeys|authorizedprincipalsfile|hostcertificate|loglevel|persourcepenaltyexemptlist) '

# Whether configuration $1 does what it must: for ssh-ca-sync, the admins, accounts of the CA, and everybody else. Sets complaint.
config_holds() {
    "$SSHD" -t -f "$1" 2>"$W/words" || {
        complaint="sshd does not accept the configuration: $(head -c 400 "$W/words")"
        return 1
    }
    # Nobody has this name: what holds for it holds for every account that no Match names.
    must_say "$1" ssh-ca-nobody <<-END || return 1
		trustedusercakeys $CA/user_ca.pub
		revokedkeys $KRL
		authorizedprincipalsfile $CA/principals/%u
		pubkeyauthentication yes
	END
    for admin in $(sed -n 's/^Match User \(.*,ssh-ca-sync\)$/\1/p' "$W/drop-in" | head -n 1 | tr , ' '); do
        must_say "$1" "$admin" <<-END || return 1
			revokedkeys $CA/admin_revoked.krl
			trustedusercakeys $CA/admin_user_ca.pub
			pubkeyauthentication yes
		END
    done
    own_keys=$CA/sync_authorized_keys
    if grep -qF "$LOOPBACK_KEYS" "$W/drop-in"; then own_keys="$own_keys $LOOPBACK_KEYS"; fi
    must_say "$1" ssh-ca-sync <<-END || return 1
		authorizedkeysfile $own_keys
		authenticationmethods publickey
		passwordauthentication no
	END
    for account in $(awk '$3 != "system" || $1 == "ssh-ca-probe" { print $1 }' "$W/accounts-wanted" | head -n 3) ssh-ca-probe; do
        must_say "$1" "$account" <<-END || return 1
			authorizedkeysfile none
			authenticationmethods publickey
			passwordauthentication no
			kbdinteractiveauthentication no
			revokedkeys $KRL
		END
    done
    if grep -q '^breakglass ' "$W/accounts-wanted"; then
        # Its own CA and no other, or the user CA would open it.
        must_say "$1" breakglass <<-END || return 1
			trustedusercakeys $CA/break_glass_ca.pub
			authorizedkeysfile none
			revokedkeys $KRL
		END
    fi
    while read -r name; do
        effective "$1" "$name" | grep -vE "$OWN_WORDS" >"$W/after"
        grep -vE "$OWN_WORDS" "$W/before.$name" >"$W/before"
        cmp -s "$W/before" "$W/after" || {
            complaint="for the account $name, which the CA did not make, sshd would change: $(diff "$W/before" "$W/after" | grep '^[<>]' | tr '\n' ' ' | head -c 300)"
            return 1
        }
    done <"$W/foreign"
}

# The certificate must be of a key that this sshd has, or it would be left out silently.
host_certificate_fits() {
    number=$(awk -v path="$CA/host-cert.pub" '$5 == path { print $1 }' "$W/files")
    [ -n "$number" ] || return 0
    print=$(ssh-keygen -L -f "$W/stage/$number" 2>/dev/null | sed -n 's/^ *Public key: .* \(SHA256:[^ ]*\).*/\1/p')
    "$SSHD" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | sed -n 's/^hostkey //p' >"$W/host-keys"
    while read -r key; do
        case $(ssh-keygen -l -f "$key" 2>/dev/null) in *" $print "*) [ -z "$print" ] || return 0 ;; esac
    done <"$W/host-keys"
    return 1
}

validate() {
    [ -x "$SSHD" ] || refuse invalid-config "there is no sshd on this machine; install openssh-server"
    number=$(awk -v path="$DROP_IN" '$5 == path { print $1 }' "$W/files")
    [ -n "$number" ] || refuse bad-request "the bundle has no sshd configuration"
    cp "$W/stage/$number" "$W/drop-in"
    remember_foreign
    stage_config
    config_holds "$staged_config" || refuse invalid-config "$complaint"
    host_certificate_fits ||
        refuse invalid-config "the host certificate is of a key that this machine's sshd does not use; bootstrap it again to pin the key it has now"
    number=$(awk '$5 == "/etc/sudoers.d/ssh-ca" { print $1 }' "$W/files")
    if [ -n "$number" ] && have visudo; then
        visudo -c -q -f "$W/stage/$number" >"$W/words" 2>&1 || refuse invalid-config "visudo does not accept the sudo rules: $(head -c 300 "$W/words")"
    fi
    # sshd refuses everybody where RevokedKeys names a file that is not there or cannot be read.
    [ -s "$KRL" ] && known_canaries_hold "$KRL" ||
        refuse no-krl "this machine has no sound KRL yet, and sshd would refuse everybody; send one in the same request"
    did validated
}
