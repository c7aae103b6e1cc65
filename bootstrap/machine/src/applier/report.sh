
# === where this machine stands =====================================================================================================

# Sets applied_* from what was applied last (and not rolled back), seen_* from the highest generation that ever came.
read_state() {
    applied_generation=0 applied_sha256='' applied_machine='' applied_fresh_until=0
    if [ -s "$STATE/applied" ]; then
        read -r applied_generation applied_sha256 applied_machine applied_fresh_until <"$STATE/applied"
    fi
    seen_generation=0 seen_sha256='' seen_machine=''
    if [ -s "$STATE/generation" ]; then read -r seen_generation seen_sha256 seen_machine <"$STATE/generation"; fi
    is_number "$applied_generation" || applied_generation=0
    is_number "$seen_generation" || seen_generation=0
    is_number "$applied_fresh_until" || applied_fresh_until=0
}

# Where an apply that waits for its confirmation has what it would put back.
PENDING=$STATE/pending

# Seconds until the timer strikes; 0 when it is due. A reboot makes it due.
restore_in() {
    read -r mark deadline <"$PENDING/deadline" || { echo 0 && return; }
    left=$((deadline - $(uptime_ticks)))
    if [ "$mark" != "$(boot_mark)" ] || [ "$left" -le 0 ]; then echo 0; else echo $((left / 100 + 1)); fi
}

# Sets seen_order: the highest number that was ever obeyed here.
read_order_state() {
    seen_order=0
    if [ -s "$STATE/order" ]; then read -r seen_order <"$STATE/order"; fi
    is_number "$seen_order" || seen_order=0
}

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
    # Where a file of the work folder can take the answer, the shell need not be copied for it.
    if [ $# -gt 0 ] && sha256sum "$@" >"$W/sums"; then
        while read -r sum file; do
            case $file in
            "$KRL") krl_now=$sum ;;
            *) hash=$sum ;;
            esac
        done <"$W/sums"
    fi
    if [ -s "$STATE/krl" ]; then
        canaries=failed
        # What was judged a moment ago and has the same bytes is not judged twice.
        if [ -n "$krl_now" ] && { [ "$krl_now" = "${krl_judged-}" ] || known_canaries_hold "$KRL"; }; then canaries=ok; fi
    fi
    { date +%s >"$W/clock" && read -r clock <"$W/clock"; } || clock=$(now)
    stale=false
    if [ "$applied_fresh_until" -gt 0 ] && [ "$clock" -gt "$applied_fresh_until" ]; then stale=true; fi
    find_version
    find_trusted
    read_fleet_keys
    read_succession_state
    read_order_state
    json_text "$applied_machine"
    printf '{"step":"state","machine":"%s","generation":%s,"applied_generation":%s,' "$text" "$((seen_generation))" "$((applied_generation))"
    json_text "$applied_sha256"
    printf '"bundle_sha256":"%s","awaiting":"%s","restore_in_secs":%s,' "$text" "$awaiting" "$restore"
    printf '"krl_version":%s,"krl_sha256":"%s","krl_canaries":"%s","clock_unix":%s,"openssh":"%s","applier_sha256":"%s","stale":%s,' \
        "$((krl_seen))" "$krl_now" "$canaries" "$clock" "$version" "$hash" "$stale"
    printf '"fleet_keys":[%s],"succession":%s,"order":%s}\n' "$fleet_keys" "$seen_succession" "$((seen_order))"
}

# Sets version: OpenSSH's. A delivery of a KRL alone takes it from the last look, as long as nothing was put beside `ssh` since: it costs 4 ms.
find_version() {
    version='' ssh='' old_ifs=$IFS IFS=:
    for folder in $PATH; do
        if [ -f "$folder/ssh" ] && [ -x "$folder/ssh" ]; then ssh=$folder/ssh && break; fi
    done
    IFS=$old_ifs
    [ -n "$ssh" ] || return
    # shellcheck disable=SC3013 # every sh that is /bin/sh somewhere knows -nt
    if [ "$verb" = apply ] && [ ! -e "$W/bundle" ] && [ -s "$RUN/openssh" ] && [ "$RUN/openssh" -nt "${ssh%/*}" ]; then
        read -r version <"$RUN/openssh"
        return
    fi
    version=$(openssh_version)
    if [ -d "$RUN" ]; then printf '%s\n' "$version" >"$RUN/openssh"; fi
}
