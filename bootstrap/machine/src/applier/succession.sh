
# === succession: the change of the fleet key ======================================================================================
# Each fleet key names its successor, signed. Whose word counts here stands in one file, so that one rename changes it: killed at any
# instant, the machine trusts the old key or the new one, never none. No bundle writes that file and no roll-back puts it back, and its
# number only rises: a key that was succeeded never comes back.

TRUST=$STATE/fleet

# Sets trusted: the file of the fleet keys that this machine goes by; empty where there are none. $FLEET is what the first bundle brought,
# and counts until the first succession.
find_trusted() {
    trusted=
    if [ -s "$TRUST" ]; then
        trusted=$TRUST
    elif [ -s "$FLEET" ]; then
        trusted=$FLEET
    fi
}

# Sets seen_succession: the highest number that was ever followed here.
read_succession_state() {
    seen_succession=0
    if [ -s "$TRUST" ]; then read -r _ _ seen_succession _ <"$TRUST"; fi
    is_number "$seen_succession" || seen_succession=0
}

# Sets fleet_keys: what $trusted lists, as JSON strings. No process is needed for it.
read_fleet_keys() {
    fleet_keys=
    [ -n "$trusted" ] || return 0
    while read -r _ _ _ blob _; do
        case $blob in
        AAAA*[!A-Za-z0-9+/=]*) ;;
        AAAA*) fleet_keys="$fleet_keys${fleet_keys:+,}\"$blob\"" ;;
        esac
    done <"$trusted"
}

# The keys of the allowed-signers file $1, as `TYPE BLOB`.
keys_of() { awk '{ for (i = 2; i <= NF; i++) if ($i ~ /^AAAA/) { print $(i - 1), $i; break } }' "$1"; }

# An allowed-signers file of the keys on standard input, under succession $1.
signers() {
    echo "# succession $1"
    sed 's/^/fleet namespaces="bundle@ssh-ca,krl@ssh-ca,order@ssh-ca" /'
}

# Puts $1 in the place of what this machine trusts.
change_trust() {
    mkdir -p -m 700 "$STATE"
    if write_whole "$TRUST" 600 <"$1"; then return 0; fi
    # On a full disk: the KRL that comes after it is what the reserve is kept for.
    rm -f "$RESERVE"
    write_whole "$TRUST" 600 <"$1"
}

# Cuts the successions $W/successions apart, which says nothing yet of who made them: $W/links/NUMBER, and its signature beside it.
cut_links() {
    mkdir "$W/links" && awk -v folder="$W/links" '
        function key(word) { return $0 ~ ("^" word " [a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+=*$") }
        at == 0 { if ($0 != "ssh-ca-succession v1" || ++n > 100) exit 1; file = folder "/" n }
        at == 1 && ($0 !~ /^number [1-9][0-9]*$/ || length($2) > 18) { exit 1 }
        at == 2 && !key("old") { exit 1 }
        at == 3 && !key("new") { exit 1 }
        at == 4 && $0 != "end" { exit 1 }
        at == 5 { close(file); file = folder "/" n "-sig"; if ($0 != "-----BEGIN SSH SIGNATURE-----") exit 1 }
        { print > file }
        at < 6 { at++; next }
        $0 == "-----END SSH SIGNATURE-----" { close(file); at = 0 }
        END { if (at) exit 1 }' "$W/successions"
}

# Goes from the key that this machine trusts to the next, as far as the successions of the request lead. What was followed before, and what
# begins at a key that is not trusted here, is passed over: it proves nothing, and keeps no KRL from being judged.
follow_successions() {
    [ -e "$W/successions" ] || return 0
    # Two that come at once: the shorter chain must not be written last.
    lock krl 30
    find_trusted
    read_succession_state
    if [ -n "$trusted" ]; then
        cut_links || refuse bad-request "the successions of the fleet key cannot be read; bring the applier up to date with bootstrap"
        keys_of "$trusted" >"$W/fleet-keys" || refuse disk "the fleet keys could not be copied; free some space"
        link=1 followed=no
        while [ -e "$W/links/$link-sig" ]; do
            { read -r _ && read -r _ number && read -r _ old && read -r _ new; } <"$W/links/$link"
            if [ "$number" -gt "$seen_succession" ] && grep -qxF "$old" "$W/fleet-keys"; then
                echo "fleet namespaces=\"succession@ssh-ca\" $old" >"$W/elder"
                if ! ssh-keygen -Y verify -f "$W/elder" -I fleet -n succession@ssh-ca -s "$W/links/$link-sig" <"$W/links/$link" >/dev/null 2>&1; then
                    warning bad-succession "succession $number of the fleet key is not signed by the key that it names; it was not followed"
                    break
                fi
                { grep -vxF "$old" "$W/fleet-keys"; echo "$new"; } >"$W/fleet-keys.new" && mv "$W/fleet-keys.new" "$W/fleet-keys" ||
                    refuse disk "the fleet keys could not be written down; free some space"
                seen_succession=$number followed=yes
            fi
            link=$((link + 1))
        done
        if [ "$followed" = yes ]; then
            signers "$seen_succession" <"$W/fleet-keys" >"$W/trust" || refuse disk "the fleet keys could not be written down; free some space"
            if [ "$verb" != dry-run ]; then
                change_trust "$W/trust" || refuse disk "the new fleet key could not be written down; the old one stays"
                rm -f "$W/trust"
                did fleet-key-followed "succession $seen_succession"
            fi
        fi
    fi
    unlock krl
}

# What an admin's own login alone may ask for (`--resync`): this machine trusts the fleet keys that came along, whatever it trusted before. What
# they signed must have come too, or nobody could speak to it afterwards.
replace_trust() {
    [ -s "$W/fleet" ] && [ -e "$W/bundle" ] || refuse bad-request "new fleet keys come with a bundle that they signed"
    find_trusted
    # A machine that trusts nobody yet takes them as every new one does.
    [ -n "$trusted" ] || return 0
    keys_of "$W/fleet" >"$W/fleet-keys" && keys_of "$trusted" >"$W/trusted-keys" || refuse disk "the fleet keys could not be copied; free some space"
    if cmp -s "$W/fleet-keys" "$W/trusted-keys"; then return 0; fi
    fleet=$W/fleet
    for object in krl bundle; do
        if [ -e "$W/$object" ]; then verify "$object@ssh-ca" "$W/$object"; fi
    done
    machine=$(sed -n '2s/^machine //p;2q' "$W/bundle")
    read_state
    for known in "$applied_machine" "$seen_machine"; do
        [ -z "$known" ] || [ "$known" = "$machine" ] || refuse wrong-machine "this machine is $known; the bundle is for $machine"
    done
    lock krl 30
    # The numbers that were followed and obeyed until now were the old keys', one of which somebody may have lifted out of reach of every
    # later one. What they signed counts for nothing from here on, and the new key has signed none for this machine: nothing can be repeated.
    # First of all: a second try finds the new keys in place, and has nothing left to replace.
    if [ "$verb" != dry-run ]; then rm -f "$STATE/order"; fi
    signers "$word_succession" <"$W/fleet-keys" >"$W/trust" || refuse disk "the fleet keys could not be written down; free some space"
    if [ "$verb" != dry-run ]; then
        change_trust "$W/trust" || refuse disk "the new fleet key could not be written down; the old one stays"
        rm -f "$W/trust"
        did fleet-key-replaced "succession $word_succession"
    fi
    unlock krl
}
