
# === where this machine stands =====================================================================================================

# Prints the state line.
state_line() {
    read_state
    read_krl_state
    awaiting='' restore=null
    if [ -d "$PENDING" ]; then
        awaiting=$(head -c 32 "$PENDING/nonce" 2>/dev/null)
        is_hex "$awaiting" 32 || awaiting=
        restore=$(restore_in)
    fi
    krl_now='' canaries=none
    if [ -f "$KRL" ]; then krl_now=$(sha256 "$KRL"); fi
    if [ -s "$STATE/krl" ]; then
        canaries=failed
        if [ -f "$KRL" ] && sed 1d "$STATE/krl" | canaries_hold "$KRL"; then canaries=ok; fi
    fi
    stale=false
    if [ "$applied_fresh_until" -gt 0 ] && [ "$(now)" -gt "$applied_fresh_until" ]; then stale=true; fi
    version=$(openssh_version)
    find_trusted
    read_fleet_keys
    read_succession_state
    hash=
    if [ -f "$STATE/applier" ]; then hash=$(sha256 "$STATE/applier"); fi
    printf '{"step":"state","machine":"%s","generation":%s,"applied_generation":%s,"bundle_sha256":"%s","awaiting":"%s","restore_in_secs":%s,' \
        "$(json "$applied_machine")" "$((seen_generation))" "$((applied_generation))" "$(json "$applied_sha256")" "$awaiting" "$restore"
    printf '"krl_version":%s,"krl_sha256":"%s","krl_canaries":"%s","clock_unix":%s,"openssh":"%s","applier_sha256":"%s","stale":%s,' \
        "$((krl_seen))" "$krl_now" "$canaries" "$(now)" "$version" "$hash" "$stale"
    printf '"fleet_keys":[%s],"succession":%s}\n' "$fleet_keys" "$seen_succession"
}
