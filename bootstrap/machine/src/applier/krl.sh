
# === the KRL lane ============================================================================================================
# Gated by signature, version and canaries alone. No timer, no snapshot, nothing of the other lane.

RESERVE=$STATE/reserve

# Sets $fleet: the keys that this machine trusts, or on first contact with a machine that trusts none, those that came along.
choose_fleet() {
    find_trusted
    if [ -s "$W/trust" ]; then
        # In a dry run: as it would be.
        fleet=$W/trust
    elif [ -n "$trusted" ]; then
        fleet=$trusted
    elif [ "$first_contact" = yes ] && [ -s "$W/fleet" ]; then
        fleet=$W/fleet
    else
        refuse bad-signature "this machine has no fleet key to verify with; run bootstrap add-machine for it"
    fi
}

# Arguments: NAMESPACE OBJECT.
verify() {
    [ -s "$2" ] && [ -s "$2-sig" ] || refuse bad-request "an object came without its signature"
    ssh-keygen -Y verify -f "$fleet" -I fleet -n "$1" -s "$2-sig" <"$2" >/dev/null 2>"$W/words" && return
    if [ "$first_contact" = yes ] && [ -s "$W/fleet" ] && [ "$fleet" != "$W/fleet" ] &&
        ssh-keygen -Y verify -f "$W/fleet" -I fleet -n "$1" -s "$2-sig" <"$2" >/dev/null 2>&1; then
        refuse other-ca "this machine trusts another fleet key: it belongs to another certificate authority (remove it there first, with bootstrap remove-machine), or the CA's key was changed without this machine (then say so with --resync)"
    fi
    # Which key it goes by, so that the server can lead it on from there.
    if [ -z "${krl_changed-}" ]; then state_line; fi
    refuse bad-signature "the signature does not hold with the fleet key of this machine; nothing was changed"
}

# Whether OpenSSH's own parser says of the KRL $1 what the canary lines on standard input say it must: the word REVOKED decides,
# since an unreadable KRL makes a non-zero exit too. One process for all of them: each costs 5 ms.
canaries_hold() {
    if [ -d "$W/canary" ]; then rm -rf "$W/canary"; fi
    mkdir "$W/canary"
    revoked=0 good=0
    while read -r word certificate; do
        case $word in
        revoked) revoked=$((revoked + 1)) && printf '%s\n' "$certificate" >"$W/canary/revoked.$revoked" ;;
        good) good=$((good + 1)) && printf '%s\n' "$certificate" >"$W/canary/good.$good" ;;
        esac
    done
    [ "$revoked" -gt 0 ] && [ "$good" -gt 0 ] || return 1
    ssh-keygen -Q -f "$1" "$W"/canary/* >"$W/answer" 2>/dev/null
    # 1 says that it was read and revokes something.
    [ $? -eq 1 ] || return 1
    while IFS= read -r judged; do
        case $judged in
        "$W/canary/revoked."*': REVOKED') revoked=$((revoked - 1)) ;;
        "$W/canary/good."*': ok') good=$((good - 1)) ;;
        *) return 1 ;;
        esac
    done <"$W/answer"
    [ "$revoked" -eq 0 ] && [ "$good" -eq 0 ]
}

# Sets krl_seen and krl_seen_sha256 from the state: the highest version that was ever accepted here.
read_krl_state() {
    krl_seen=0 krl_seen_sha256=''
    if [ -s "$STATE/krl" ]; then read -r krl_seen krl_seen_sha256 _ <"$STATE/krl"; fi
    is_number "$krl_seen" || krl_seen=0
}

# Checks the parcel $W/krl as far as that goes without changing anything. Sets krl_version, krl_sha256, krl_size.
read_parcel() {
    verify krl@ssh-ca "$W/krl"
    sed '/^end$/q' <"$W/krl" >"$W/krl-manifest"
    {
        read -r magic && read -r _ krl_version && read -r _ krl_issued && read -r _ krl_sha256 && read -r _ krl_size
    } <"$W/krl-manifest" || magic=
    [ "$magic" = 'ssh-ca-krl v1' ] && is_number "$krl_version" && is_number "$krl_issued" && is_number "$krl_size" &&
        is_hex "$krl_sha256" 64 || refuse bad-krl "the manifest of the KRL parcel cannot be read"
    [ "$(size_of "$W/krl")" -eq $(($(size_of "$W/krl-manifest") + krl_size)) ] ||
        refuse bad-krl "the KRL parcel is cut off, or longer than it says"
    grep -E '^(revoked|good) ' "$W/krl-manifest" >"$W/canaries" || refuse bad-krl "the KRL parcel has no canaries"
    read_krl_state
    [ "$krl_version" -ge "$krl_seen" ] ||
        refuse old-krl "KRL version $krl_version came, but version $krl_seen was here already; a KRL never goes back"
    [ "$krl_version" -gt "$krl_seen" ] || [ "$krl_sha256" = "$krl_seen_sha256" ] ||
        refuse other-hash "KRL version $krl_version came before with other bytes; the next one needs a higher version"
}

krl_is_in_place() {
    [ -f "$KRL" ] && [ ! -L "$KRL" ] && [ "$krl_version" -eq "$krl_seen" ] && [ "$(sha256 "$KRL")" = "$krl_sha256" ] &&
        [ "$(stat -c '%u %g %a' "$KRL")" = '0 0 644' ]
}

install_krl() {
    choose_fleet
    lock krl 30
    release_reserve
    read_parcel
    krl_changed=no
    if krl_is_in_place; then
        did krl-unchanged "version $krl_version"
    else
        { [ -d "$CA" ] || mkdir -p -m 755 "$CA"; } && { [ -d "$STATE" ] || mkdir -p -m 700 "$STATE"; } ||
            refuse disk "the folders of the KRL could not be made"
        new=$CA/.revoked.krl.new
        # A folder of that name would make sshd refuse everybody; nobody but root can have put it there.
        [ ! -d "$KRL" ] || rm -rf "$KRL"
        tail -c "$krl_size" "$W/krl" >"$new" && [ "$(sha256 "$new")" = "$krl_sha256" ] && chmod 644 "$new" && sync "$new" || {
            rm -f "$new"
            refuse disk "the KRL could not be written beside the one in use, or came with another hash; the old one stays"
        }
        did krl-staged
        canaries_hold "$new" <"$W/canaries" || {
            rm -f "$new"
            refuse canary "OpenSSH on this machine does not read this KRL as it must; the old one stays"
        }
        did krl-checked
        # Version first: after a power cut here, only this KRL or a newer one is accepted, and it is put in place then.
        { echo "$krl_version $krl_sha256 $krl_issued" && cat "$W/canaries"; } | write_whole "$STATE/krl" 600 || {
            rm -f "$new"
            refuse disk "the KRL's version could not be written down; the old KRL stays"
        }
        did krl-recorded
        mv -f "$new" "$KRL" && sync "$CA" && [ "$(sha256 "$KRL")" = "$krl_sha256" ] ||
            refuse failed "the KRL could not be renamed into place; look at $CA"
        krl_changed=yes
        did krl-installed "version $krl_version"
    fi
    rm -f "$W/krl" "$W/krl-manifest"
    make_reserve
    unlock krl
}

# Space for the next KRL, kept against a full disk: its parcel, the file beside the old one, the state.
release_reserve() {
    least=$(($(size_of "$W/krl") * 3 / 1024 + 256))
    set --
    for place in "$CA" "$STATE" "$W"; do
        if [ -d "$place" ]; then set -- "$@" "$place"; fi
    done
    # What cannot be said counts as full.
    if df -Pk "$@" 2>/dev/null | awk -v least="$least" -v places=$# 'NR > 1 && $4 < least { full = 1 } END { exit !(full || NR <= places) }'; then
        rm -f "$RESERVE"
    fi
}

make_reserve() {
    # In steps, so that it is not written anew for each entry.
    wanted=$(((krl_size * 4 + 589823) / 65536 * 65536))
    if [ -f "$RESERVE" ] && [ "$(size_of "$RESERVE")" -ge "$wanted" ]; then return; fi
    # Random bytes: a file system that compresses would keep no room with zeros.
    if head -c "$wanted" /dev/urandom >"$RESERVE" 2>/dev/null && sync "$RESERVE"; then return; fi
    rm -f "$RESERVE"
    warning no-reserve "the disk is too full to keep room for the next KRL; free some space"
}
