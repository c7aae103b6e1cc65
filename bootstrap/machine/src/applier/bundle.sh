
# === the configuration lane: what came ==========================================================================================

# Reads the head of the bundle $W/bundle, whose signature was verified, and judges for which machine and how old it is. Sets machine,
# generation, issued, fresh_until, bundle_sha256.
read_head() {
    bundle_sha256=$(sha256 "$W/bundle")
    sed '/^end$/q' <"$W/bundle" >"$W/manifest"
    {
        read -r magic && read -r _ machine && read -r _ generation && read -r _ issued && read -r _ fresh_until
    } <"$W/manifest" || magic=
    [ "$magic" = 'ssh-ca-bundle v1' ] && is_number "$generation" && is_number "$issued" && is_number "$fresh_until" ||
        refuse bad-request "the manifest of the bundle cannot be read"
    case $machine in '' | *[!a-z0-9.-]*) refuse bad-request "the bundle names no machine" ;; esac
    check_generation
}

# Checks the bundle $W/bundle and cuts it apart: $W/files (`NUMBER SHA256 SIZE MODE PATH`), $W/stage/NUMBER, $W/accounts-wanted.
# Sets what read_head sets.
read_bundle() {
    verify bundle@ssh-ca "$W/bundle"
    read_head
    # Each line of a closed form, each path of the closed list: the signature says who, this says what at most.
    awk '
        NR <= 5 { next }
        /^end$/ { done = 1; next }
        /^file [0-9a-f]+ [0-9]+ 0[0-7][0-7][0-7] \/[A-Za-z0-9._\/-]+$/ && length($2) == 64 && $5 !~ /\.\./ { print ++n, $2, $3, $4, $5 > files; next }
        /^account [a-z_][a-z0-9_-]* (-|[0-9]+) (made|adopted|system) (active|expired|purged) \/[A-Za-z0-9._+\/-]+ [a-z0-9_,-]+ [^:]+$/ {
            print substr($0, 9) > accounts; next }
        { exit 1 }
        END { if (!done) exit 1 }' files="$W/files" accounts="$W/accounts-wanted" "$W/manifest" ||
        refuse bad-request "the manifest of the bundle has a line that this applier does not know; bring it up to date with bootstrap"
    touch "$W/files" "$W/accounts-wanted"
    mkdir "$W/stage"
    offset=$(($(size_of "$W/manifest") + 1))
    while read -r number hash size mode path; do
        case "$mode $path" in
        "0644 $CA"/user_ca.pub | "0644 $FLEET" | "0644 $CA"/admin_revoked.krl | "0644 $CA"/admin_user_ca.pub | "0644 $CA"/break_glass_ca.pub) ;;
        "0644 $CA"/host-cert.pub | "0644 $CA"/sync_authorized_keys | "0644 $DROP_IN") ;;
        "0440 /etc/sudoers.d/ssh-ca" | "0700 $STATE/applier" | "0700 $STATE/session-record") ;;
        "0700 $STATE/puller" | "0600 $STATE/pull.conf" | "0600 $STATE/pull-ca.pem") ;;
        "0644 $CA/principals/"*) is_account "${path##*/}" && [ "$path" = "$CA/principals/${path##*/}" ] ;;
        *) false ;;
        esac || refuse bad-request "the bundle wants to write a file that is none of its: $path"
        tail -c "+$offset" "$W/bundle" 2>/dev/null | head -c "$size" >"$W/stage/$number"
        [ "$(sha256 "$W/stage/$number")" = "$hash" ] || refuse bad-request "the bytes for $path are not those of the manifest"
        offset=$((offset + size))
    done <"$W/files"
    [ "$offset" -eq $(($(size_of "$W/bundle") + 1)) ] || refuse bad-request "the bundle is longer than its manifest says"
    rm -f "$W/bundle"
}

check_generation() {
    read_state
    if [ -n "$applied_machine" ] && [ "$applied_machine" != "$machine" ]; then
        refuse wrong-machine "this machine is $applied_machine; the bundle is for $machine"
    fi
    if [ "$seen_machine" = "$machine" ] || [ "$first_contact" = no ]; then
        [ -z "$seen_machine" ] || [ "$seen_machine" = "$machine" ] ||
            refuse wrong-machine "this machine was $seen_machine; the bundle is for $machine"
        [ "$generation" -ge "$seen_generation" ] ||
            refuse old-generation "generation $generation came, but $seen_generation was here already; it never goes back"
        [ "$generation" -gt "$seen_generation" ] || [ "$bundle_sha256" = "$seen_sha256" ] ||
            refuse other-hash "generation $generation came before with other content; a change needs a higher generation"
    fi
    [ "$(now)" -le "$fresh_until" ] ||
        refuse stale "this bundle was good until $(date -u -d "@$fresh_until" 2>/dev/null || echo "$fresh_until"), and this machine's clock says $(date -u); send a new one, or set the clock"
}

# --- what this machine needs beside the bundle's files: an Include in sshd_config, a line for PAM ---------------------------------

# Writes the wanted sshd_config to $1 if it differs. The first line that says anything must bring the drop-in in.
wanted_sshd_config() {
    [ -f "$SSHD_CONFIG" ] || return 1
    first=$(sed -n '/^[[:space:]]*\(#\|$\)/!{p;q;}' "$SSHD_CONFIG" | tr -s ' \t"' ' ' | sed 's/^ //; s/ $//')
    case $first in
    [Ii]nclude' '*)
        for glob in ${first#* }; do
            case $glob in /*) ;; *) glob=/etc/ssh/$glob ;; esac
            # shellcheck disable=SC2254 # a pattern on purpose
            case $DROP_IN in
            $glob) return 1 ;;
            esac
        done
        ;;
    esac
    { echo "Include $DROP_IN" && cat "$SSHD_CONFIG"; } >"$1" || refuse disk "$SSHD_CONFIG could not be copied; free some space"
}

# First of all lines, and for the opening only. Further down, pam_env may have read a file of the account's own (`user_readenv`, as on Debian),
# and pam_exec hands PAM's whole environment, LD_PRELOAD with it, to what it runs as root.
PAM_LINE="session optional pam_exec.so type=open_session quiet $STATE/session-record"

# Whether an account's own file comes into PAM's environment with the authentication, before any session line.
environment_is_the_accounts() {
    grep -qsE '^[[:space:]]*-?auth[[:space:]].*pam_env\.so.*user_readenv=1' /etc/pam.d/*
}

# Writes the wanted /etc/pam.d/sshd to $1 if it differs.
wanted_pam() {
    [ -f "$PAM_SSHD" ] || return 1
    # Cut off by a full disk, it would shut everybody out.
    sed "\\#$STATE/session-record#d" "$PAM_SSHD" >"$W/pam-rest" || refuse disk "$PAM_SSHD could not be copied; free some space"
    if environment_is_the_accounts; then
        warning no-session-record "PAM takes an account's own environment at authentication (pam_env with user_readenv=1 in an auth line of /etc/pam.d), so sessions are not recorded here and not ended when they are revoked; remove that word"
        cat "$W/pam-rest" >"$1" || refuse disk "$PAM_SSHD could not be copied; free some space"
        ! cmp -s "$1" "$PAM_SSHD"
        return
    fi
    for module in /lib/security /lib64/security /usr/lib/security /usr/lib64/security /lib/*/security /usr/lib/*/security; do
        if [ -e "$module/pam_exec.so" ]; then
            { echo "$PAM_LINE" && cat "$W/pam-rest"; } >"$1" || refuse disk "$PAM_SSHD could not be copied; free some space"
            ! cmp -s "$1" "$PAM_SSHD"
            return
        fi
    done
    return 1
}

# Writes $W/changes: `CHANGE MODE STAGED|- PATH` for each file that is not yet as it must be, in the order in which they go into place: what
# sshd's configuration names comes before that configuration.
find_changes() {
    : >"$W/changes"
    while read -r number _ _ mode path; do
        note_change "$W/stage/$number" "$mode" "$path"
    done <"$W/files"
    for path in "$CA"/principals/* "$CA"/host-cert.pub "$STATE"/puller "$STATE"/pull.conf "$STATE"/pull-ca.pem; do
        if [ -e "$path" ] && ! grep -q " $path\$" "$W/files"; then echo "removed - - $path"; fi
    done >>"$W/changes"
    if wanted_pam "$W/stage/pam"; then note_change "$W/stage/pam" "0$(stat -c %a "$PAM_SSHD")" "$PAM_SSHD"; fi
    if wanted_sshd_config "$W/stage/sshd_config"; then
        note_change "$W/stage/sshd_config" "0$(stat -c %a "$SSHD_CONFIG")" "$SSHD_CONFIG"
    fi
    # The drop-in last but for the line that includes it.
    for late in "$DROP_IN" "$SSHD_CONFIG"; do
        grep " $late\$" "$W/changes" >"$W/late"
        grep -v " $late\$" "$W/changes" >"$W/early"
        cat "$W/early" "$W/late" >"$W/changes" || refuse disk "the list of changes could not be written; free some space"
    done
}

note_change() { # STAGED MODE PATH
    if [ -L "$3" ] || [ -d "$3" ]; then
        change=changed
    elif [ ! -e "$3" ]; then
        change=new
    elif cmp -s "$1" "$3" && [ "$(stat -c '%u %g 0%a' "$3")" = "0 0 $2" ]; then
        return 0
    else
        change=changed
    fi
    echo "$change $2 $1 $3" >>"$W/changes"
}

report_changes() {
    while read -r change _ _ path; do
        printf '{"step":"file","path":"%s","change":"%s"}\n' "$(json "$path")" "$change"
    done <"$W/changes"
}
