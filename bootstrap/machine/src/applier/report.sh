
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
    krl_now='' hash='' canaries=none
    set --
    for file in "$KRL" "$STATE/applier"; do
        if [ -f "$file" ]; then set -- "$@" "$file"; fi
    done
    if [ $# -gt 0 ]; then
        while read -r sum file; do
            case $file in
            "$KRL") krl_now=$sum ;;
            *) hash=$sum ;;
            esac
        done <<-END
			$(sha256sum "$@")
		END
    fi
    if [ -s "$STATE/krl" ]; then
        canaries=failed
        # What was judged a moment ago and has the same bytes is not judged twice.
        if [ -n "$krl_now" ] && { [ "$krl_now" = "${krl_judged-}" ] || known_canaries_hold "$KRL"; }; then canaries=ok; fi
    fi
    clock=$(now)
    stale=false
    if [ "$applied_fresh_until" -gt 0 ] && [ "$clock" -gt "$applied_fresh_until" ]; then stale=true; fi
    find_version
    find_trusted
    read_fleet_keys
    read_succession_state
    read_order_state
    printf '{"step":"state","machine":"%s","generation":%s,"applied_generation":%s,"bundle_sha256":"%s","awaiting":"%s","restore_in_secs":%s,' \
        "$(json "$applied_machine")" "$((seen_generation))" "$((applied_generation))" "$(json "$applied_sha256")" "$awaiting" "$restore"
    printf '"krl_version":%s,"krl_sha256":"%s","krl_canaries":"%s","clock_unix":%s,"openssh":"%s","applier_sha256":"%s","stale":%s,' \
        "$((krl_seen))" "$krl_now" "$canaries" "$clock" "$version" "$hash" "$stale"
    printf '"fleet_keys":[%s],"succession":%s,"order":%s}\n' "$fleet_keys" "$seen_succession" "$((seen_order))"
}

# Sets version: OpenSSH's. A delivery of a KRL alone takes it from the last look, as long as nothing was put beside `ssh` since: it costs 4 ms.
find_version() {
    version=
    ssh=$(command -v ssh) || return
    # shellcheck disable=SC3013 # every sh that is /bin/sh somewhere knows -nt
    if [ "$verb" = apply ] && [ ! -e "$W/bundle" ] && [ -s "$RUN/openssh" ] && [ "$RUN/openssh" -nt "${ssh%/*}" ]; then
        read -r version <"$RUN/openssh"
        return
    fi
    version=$(openssh_version)
    if [ -d "$RUN" ]; then printf '%s\n' "$version" >"$RUN/openssh"; fi
}
