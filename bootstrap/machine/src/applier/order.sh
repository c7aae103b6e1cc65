
# === orders: what the server asks for beside bundles and KRLs =====================================================================
# Signed by the fleet key, for this machine alone, with a number that only rises: neither the key of ssh-ca-sync by itself nor a copy of an
# earlier order brings anything about. One that was fetched says how long it is good: whoever keeps a mirror could have kept it back.

# Checks the order $W/order and writes its number down before anything is done: what it names stands in $W/wanted.
read_order() { # VERB
    choose_fleet
    verify order@ssh-ca "$W/order"
    awk -v verb="$1" -v wanted="$W/wanted" -v bounds="$W/bounds" '
        NR == 1 { if ($0 != "ssh-ca-order v1") exit 1; next }
        NR == 2 { if ($0 !~ /^machine [a-z0-9.-]+$/) exit 1; next }
        NR == 3 { if ($0 !~ /^number [1-9][0-9]*$/ || length($2) > 18) exit 1; next }
        NR == 4 { if ($0 != "verb " verb) exit 1; next }
        done { exit 1 }
        /^end$/ { done = 1; next }
        /^(until|generation) [0-9]+$/ && length($2) <= 18 { print >> bounds; next }
        /^(key-id [^ ]+|serial [0-9]+|session [1-9][0-9]* [0-9]+)$/ { print > wanted; next }
        { exit 1 }
        END { if (!done) exit 1 }' "$W/order" || refuse bad-request "the order cannot be read; bring the applier up to date with bootstrap"
    { read -r _ && read -r _ machine && read -r _ number; } <"$W/order"
    read_state
    for known in "$applied_machine" "$seen_machine"; do
        [ -z "$known" ] || [ "$known" = "$machine" ] || refuse wrong-machine "this machine is $known; the order is for $machine"
    done
    [ -n "$applied_machine$seen_machine" ] || refuse wrong-machine "this machine has no name of the CA's yet; the order is for $machine"
    # Looked at and written down in one go: of two that come at once, one is older.
    lock krl 30
    read_order_state
    [ "$number" -gt "$seen_order" ] || refuse old-order "order $number came, but $seen_order was here already; an order is obeyed once"
    check_bounds
    echo "$number" | write_whole "$STATE/order" 600 || refuse disk "the order's number could not be written down; nothing was done"
    unlock krl
    did order-accepted "$number"
}

# Refuses an order that lay somewhere for too long: by the clock, or because this machine was told new things since.
check_bounds() {
    [ -s "$W/bounds" ] || return 0
    while read -r word bound; do
        case $word in
        until)
            [ "$(now)" -le "$bound" ] ||
                refuse stale "the order was good until $(date -u -d "@$bound" 2>/dev/null || echo "$bound"), and this machine's clock says $(date -u); nothing was done"
            ;;
        generation)
            [ "$seen_generation" -le "$bound" ] ||
                refuse stale "the order was made for generation $bound, and $seen_generation was here already: this machine was added again since; nothing was done"
            ;;
        esac
    done <"$W/bounds"
}

end_ordered() {
    read_order end-sessions
    touch "$W/wanted"
    end_revoked
}
