
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

# Whether OpenSSH's own parser says of the KRL $1 what the canaries that came with the KRL in use say it must.
known_canaries_hold() {
    [ -s "$STATE/krl" ] && { read -r _ && write_canaries; } <"$STATE/krl" && judge_canaries "$1"
}

canary_set=0

# Begins a set of canaries with none in it.
no_canaries() { canary_set=$((canary_set + 1)) revoked=0 good=0; }

# Writes the certificate of the canary line `$1 $2` into a file of its own.
write_canary() {
    case $1 in
    revoked) printf '%s\n' "$2" >"$W/canary$canary_set-revoked.$revoked" && revoked=$((revoked + 1)) ;;
    good) printf '%s\n' "$2" >"$W/canary$canary_set-good.$good" && good=$((good + 1)) ;;
    esac
}

# Whether there is one of each kind: with fewer, nothing would be proven.
has_canaries() { [ "$revoked" -gt 0 ] && [ "$good" -gt 0 ]; }

# Writes those of the lines on standard input.
write_canaries() {
    no_canaries
    while read -r word certificate; do write_canary "$word" "$certificate" || return 1; done
    has_canaries
}

# The word REVOKED decides, since an unreadable KRL makes a non-zero exit too. One process for all of them: each costs 5 ms.
judge_canaries() {
    ssh-keygen -Q -f "$1" "$W/canary$canary_set"-* >"$W/answer" 2>/dev/null
    # 1 says that it was read and revokes something.
    [ $? -eq 1 ] || return 1
    while IFS= read -r judged; do
        case $judged in
        "$W/canary$canary_set-revoked."*': REVOKED') revoked=$((revoked - 1)) ;;
        "$W/canary$canary_set-good."*': ok') good=$((good - 1)) ;;
        *) return 1 ;;
        esac
    done <"$W/answer"
    [ "$revoked" -eq 0 ] && [ "$good" -eq 0 ]
}

# Sets krl_seen, krl_seen_sha256 and reserved from the state: the highest version that was ever accepted here, and the bytes that the reserve has.
read_krl_state() {
    krl_seen=0 krl_seen_sha256='' reserved=0
    if [ -s "$STATE/krl" ]; then read -r krl_seen krl_seen_sha256 _ reserved _ <"$STATE/krl"; fi
    is_number "$krl_seen" || krl_seen=0
    is_number "$reserved" || reserved=0
}

# Checks the parcel $W/krl as far as that goes without changing anything. Sets krl_version, krl_issued, krl_sha256, krl_size, and canaries, in lines;
# each canary is a file of its own then. The shell itself reads it, up to the KRL's own bytes.
read_parcel() {
    verify krl@ssh-ca "$W/krl"
    no_canaries
    magic='' canaries='' ended=no manifest_size=0 number=0
    while IFS= read -r line; do
        manifest_size=$((manifest_size + ${#line} + 1)) number=$((number + 1))
        case $number in
        1) magic=$line ;;
        2) krl_version=${line#* } ;;
        3) krl_issued=${line#* } ;;
        4) krl_sha256=${line#* } ;;
        5) krl_size=${line#* } ;;
        *)
            case $line in
            end) ended=yes && break ;;
            'revoked '* | 'good '*)
                canaries=$canaries$line$LINE_END
                write_canary "${line%% *}" "${line#* }" || refuse disk "the canaries could not be written; free some space"
                ;;
            esac
            ;;
        esac
        [ "$number" -lt 1000 ] || break
    done <"$W/krl"
    [ "$magic" = 'ssh-ca-krl v1' ] && [ "$ended" = yes ] && is_number "$krl_version" && is_number "$krl_issued" && is_number "$krl_size" &&
        is_hex "$krl_sha256" 64 || refuse bad-krl "the manifest of the KRL parcel cannot be read"
    [ "$size_of_krl" -eq $((manifest_size + krl_size)) ] || refuse bad-krl "the KRL parcel is cut off, or longer than it says"
    has_canaries || refuse bad-krl "the KRL parcel has no canaries of both kinds"
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
    read_parcel
    # In steps, so that it is not made anew for each entry.
    reserve_wanted=$(((krl_size * 4 + 589823) / 65536 * 65536))
    [ "$reserve_wanted" -gt "$reserved" ] || reserve_wanted=$reserved
    krl_changed=no
    if krl_is_in_place; then
        did krl-unchanged "version $krl_version"
    else
        { [ -d "$CA" ] || mkdir -p -m 755 "$CA"; } && { [ -d "$STATE" ] || mkdir -p -m 700 "$STATE"; } ||
            refuse disk "the folders of the KRL could not be made"
        # A folder of that name would make sshd refuse everybody; nobody but root can have put it there.
        [ ! -d "$KRL" ] || rm -rf "$KRL"
        new=$CA/.revoked.krl.new new_state=$STATE/krl.ssh-ca-new
        # Where there is no room, the reserve makes some.
        stage_krl || { rm -f "$RESERVE" && stage_krl; } || {
            rm -f "$new" "$new_state"
            refuse disk "the KRL could not be written beside the one in use, or came with another hash; the old one stays"
        }
        did krl-staged
        judge_canaries "$new" || {
            rm -f "$new" "$new_state"
            refuse canary "OpenSSH on this machine does not read this KRL as it must; the old one stays"
        }
        did krl-checked
        # Version first: after a power cut here, only this KRL or a newer one is accepted, and it is put in place then.
        mv -f "$new_state" "$STATE/krl" && sync "$STATE" || {
            rm -f "$new"
            refuse disk "the KRL's version could not be written down; the old KRL stays"
        }
        did krl-recorded
        mv -f "$new" "$KRL" && sync "$CA" || refuse failed "the KRL could not be renamed into place; look at $CA"
        # The state line reads it back; with the same bytes, its canaries were judged already.
        krl_changed=yes krl_judged=$krl_sha256
        did krl-installed "version $krl_version"
    fi
    if [ ! -f "$RESERVE" ]; then make_reserve; fi
    unlock krl
}

# Shows a piece of the KRL with the manifest and the signature of the parcel that brought it; the bytes together are that parcel again.
show_krl() {
    lock krl 30
    if [ -s "$STATE/krl" ] && [ -f "$KRL" ]; then
        { read -r version hash issued _; } <"$STATE/krl"
        size=$(size_of "$KRL")
        {
            printf 'ssh-ca-krl v1\nversion %s\nissued %s\nsha256 %s\nsize %s\n' "$version" "$issued" "$hash" "$size"
            grep -E '^(revoked|good) ' "$STATE/krl"
            echo end
        } >"$W/manifest"
        sed -n '/^-----BEGIN SSH SIGNATURE-----$/,$p' <"$STATE/krl" >"$W/signature"
        printf '{"step":"krl","size":%s,"manifest":"%s","signature":"%s","piece":"%s"}\n' "$size" \
            "$(base64 <"$W/manifest" | tr -d '\n')" "$(base64 <"$W/signature" | tr -d '\n')" \
            "$(tail -c "+$((word_from + 1))" "$KRL" | head -c "$word_most" | base64 | tr -d '\n')"
    fi
    unlock krl
}

# Writes the KRL and the state of it beside those in use; both are on the disk then.
stage_krl() {
    # Before its new size is written down: what is there then is never smaller than what stands there.
    if [ "$reserve_wanted" -ne "$reserved" ] && [ -f "$RESERVE" ]; then rm -f "$RESERVE"; fi
    # What a killed run left behind may have another mode.
    if [ -e "$new" ] || [ -e "$new_state" ]; then rm -f "$new" "$new_state"; fi
    umask 022
    tail -c "$krl_size" "$W/krl" >"$new"
    wrote=$?
    umask 077
    [ "$wrote" -eq 0 ] && {
        printf '%s %s %s %s\n%s' "$krl_version" "$krl_sha256" "$krl_issued" "$reserve_wanted" "$canaries" &&
            # The signature with it: a CA that was restored from a backup reads back what it had signed.
            # Up to its end: what stands behind it, nobody signed.
            while IFS= read -r line || [ -n "$line" ]; do
                printf '%s\n' "$line" || return 1
                [ "$line" != '-----END SSH SIGNATURE-----' ] || break
            done <"$W/krl-sig"
    } >"$new_state" && sha256sum <"$new" >"$W/sum" && read -r sum _ <"$W/sum" && [ "$sum" = "$krl_sha256" ] && sync "$new" "$new_state"
}

# Space for the next KRL, kept against a full disk: its parcel, the file beside the old one, the state.
make_reserve() {
    # Random bytes: a file system that compresses would keep no room with zeros. Whole or not at all.
    if head -c "$reserve_wanted" /dev/urandom >"$RESERVE.new" 2>/dev/null && sync "$RESERVE.new" && mv -f "$RESERVE.new" "$RESERVE"; then
        return
    fi
    rm -f "$RESERVE.new"
    warning no-reserve "the disk is too full to keep room for the next KRL; free some space"
}
