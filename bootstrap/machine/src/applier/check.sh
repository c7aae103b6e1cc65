
# === check-up, proof =============================================================================================================

drift() { printf '{"step":"drift","path":"%s","what":"%s"}\n' "$(json "$1")" "$2"; }

# Compares this machine with the manifest applied last.
check() {
    [ -s "$STATE/manifest" ] || { drift "$STATE/manifest" missing && return; }
    grep '^file ' "$STATE/manifest" | while read -r _ hash _ mode path; do
        if [ -L "$path" ] || [ ! -f "$path" ]; then
            drift "$path" missing
        elif [ "$(sha256 "$path")" != "$hash" ]; then
            drift "$path" changed
        elif [ "$(stat -c '%u %g' "$path")" != '0 0' ]; then
            drift "$path" owner
        elif [ "0$(stat -c %a "$path")" != "$mode" ]; then
            drift "$path" mode
        fi
    done
    for path in "$CA"/principals/*; do
        if [ -e "$path" ] && ! grep -q "^file .* $path\$" "$STATE/manifest"; then drift "$path" unexpected; fi
    done
    for folder in "$CA" "$CA/principals"; do
        [ "$(stat -c '%u %g %a' "$folder" 2>/dev/null)" = '0 0 755' ] || drift "$folder" owner
    done
    : >"$W/files"
    : >"$W/accounts-wanted"
    mkdir -p "$W/stage"
    if wanted_sshd_config "$W/stage/sshd_config"; then drift "$SSHD_CONFIG" changed; fi
    if wanted_pam "$W/stage/pam"; then drift "$PAM_SSHD" changed; fi
    if grep -q "^file .* $PULLER\$" "$STATE/manifest"; then
        if wanted_pull_timer && ! cmp -s "$W/pull-timer" "$pull_timer"; then drift "$pull_timer" changed; fi
        if [ ! -s "$LOOPBACK_KEYS" ]; then
            drift "$LOOPBACK_KEYS" missing
        elif [ "$(stat -c '%u %g %a' "$LOOPBACK_KEYS")" != '0 0 644' ]; then
            drift "$LOOPBACK_KEYS" mode
        fi
    fi
    sed -n 's/^account //p' "$STATE/manifest" >"$W/accounts-wanted"
    while read -r name uid origin state shell groups gecos; do
        look_up "$name"
        if [ "$state" = active ]; then
            if [ -z "$entry" ]; then
                drift "account $name" missing
            elif { [ "$origin" = made ] && [ "$has_uid" != "$uid" ]; } || [ "$(expiry_of "$name")" = 1 ] || groups_differ; then
                drift "account $name" changed
            elif [ "$origin" != adopted ] && [ "$has_shell" != "$shell" ]; then
                drift "account $name" changed
            fi
        elif [ "$state" = expired ] && [ -n "$entry" ] && [ -e "$STATE/accounts/$name" ] && [ "$(expiry_of "$name")" != 1 ]; then
            drift "account $name" changed
        fi
    done <"$W/accounts-wanted"
    if [ ! -f "$KRL" ]; then
        drift "$KRL" missing
    elif read_krl_state && [ "$(sha256 "$KRL")" != "$krl_seen_sha256" ]; then
        drift "$KRL" changed
    elif [ "$(stat -c '%u %g' "$KRL")" != '0 0' ]; then
        drift "$KRL" owner
    elif [ "$(stat -c %a "$KRL")" != 644 ]; then
        drift "$KRL" mode
    fi
}

# Logs in from here to here, to show what sshd accepts. Few attempts: one connection.
prove() {
    [ -n "$word_account" ] && [ -s "$W/key" ] || refuse bad-request "a proof needs an account and a key"
    find_loopback
    if [ -s "$W/certificate" ]; then set -- -o "CertificateFile=$W/certificate"; else set --; fi
    output=$(ssh -v -F none -n -T -i "$W/key" "$@" -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
        -o PreferredAuthentications=publickey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=10 -o KexAlgorithms=curve25519-sha256 -p "$port" \
        -l "$word_account" -- "$address" true 2>"$W/words" | head -c 200)
    accepted=false answered=false
    if grep -q '^Authenticated to ' "$W/words"; then accepted=true; fi
    # What it offers before any key, and again after each that it refused.
    methods=$(sed -n 's/.*Authentications that can continue: \([a-z,-]*\).*/\1/p' "$W/words" | tail -n 1)
    if [ "$accepted" = true ] || [ -n "$methods" ]; then answered=true; fi
    printf '{"step":"proof","account":"%s","accepted":%s,"answered":%s,"methods":"%s","output":"%s","detail":"%s"}\n' \
        "$word_account" "$accepted" "$answered" "$methods" "$(json "$output")" "$(json "$(grep -v '^debug1' "$W/words" | tail -n 2)")"
}
