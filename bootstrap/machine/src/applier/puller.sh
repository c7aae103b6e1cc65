
# === the puller ===================================================================================================================
# A timer runs it. It fetches what the CA wants here from a web server, and hands it to the applier, which believes nothing but the fleet key's
# signature: an old file, another machine's, or a changed one is refused there, with nothing changed. The KRL goes first, by itself.

# Where the settings and the secret are: elsewhere once the CA is off this machine, and only its last report is left to do.
KEPT=$STATE
REMOVING=$STATE/removing
APPLIER=$STATE/applier
# The most that is fetched of one file, in KiB; less where there is less room.
MOST_KIB=16384
# A configuration that did not let its own loopback login in is tried again after this many seconds: it would only be put back again.
WAIT_SECS=1800
# The CA is told how this machine stands after each change, and otherwise this often, in seconds.
REPORT_SECS=600
# A report that had to name open sessions is followed by one at each of the next runs, this often at most: an admin's own login of a bootstrap is
# gone by then, and one that stays open must not make a flood.
SOON=5

# Sets machine, from, ca, trust, jitter, limit_secs, host_key.
read_settings() {
    machine='' from='' ca='' trust=system jitter=0 limit_secs=60 host_key='' ended=no
    [ -s "$KEPT/pull.conf" ] || refuse no-pull "this machine does not fetch for itself; bootstrap add-machine --pull makes it"
    while read -r word value; do
        case $word in
        machine) machine=$value ;;
        from) from=$value ;;
        ca) ca=$value ;;
        trust) trust=$value ;;
        jitter) is_number "$value" && jitter=$value ;;
        timeout) is_number "$value" && limit_secs=$value ;;
        host-key) host_key=$value ;;
        end) ended=yes ;;
        esac
    done <"$KEPT/pull.conf"
    [ "$ended" = yes ] && [ -n "$machine" ] && [ -n "$from" ] || refuse no-pull "$KEPT/pull.conf is not whole; bootstrap add-machine --pull writes it anew"
}

# 28 random bits as a number.
random() { echo $((0x$(head -c 16 /dev/urandom | sha256sum | cut -c1-7))); }

# What the secret says for one purpose: $1.
derived() {
    read -r secret 2>/dev/null <"$KEPT/pull-key" && is_hex "$secret" 64 || return 1
    printf 'ssh-ca pull %s %s' "$1" "$secret" | sha256sum | cut -d' ' -f1
}

# Sets tool. The token and the certificate to trust go in a file: an argument could be read by anybody here.
find_tool() {
    tool=
    if have curl; then
        tool=curl
    elif have wget; then
        tool=plain-wget
        case $(wget --version 2>/dev/null | head -n 1) in 'GNU Wget'*) tool=wget ;; esac
    fi
    [ -n "$tool" ] || failed no-tool "neither curl nor wget is here, so nothing can be fetched; install one of them"
    : >"$W/curl.ca"
    : >"$W/wget.ca"
    pins=
    if [ "$trust" = pinned ]; then
        # Instead of the system's, where both tools would look as well: any of its CAs could have signed for the CA's name, and got the token.
        mkdir -p "$W/no-cas"
        printf 'cacert = "%s"\ncapath = "%s"\n' "$KEPT/pull-ca.pem" "$W/no-cas" >>"$W/curl.ca"
        printf 'ca_certificate = %s\nca_directory = %s\n' "$KEPT/pull-ca.pem" "$W/no-cas" >>"$W/wget.ca"
        # A wget with OpenSSL goes by these.
        pins="env SSL_CERT_FILE=$KEPT/pull-ca.pem SSL_CERT_DIR=$W/no-cas"
    fi
    if token=$(derived token); then
        echo "header = \"Authorization: Bearer $token\"" >>"$W/curl.ca"
        echo "header = Authorization: Bearer $token" >>"$W/wget.ca"
    fi
    # Nothing of the machine's is shown to anybody but the CA.
    : >"$W/curl.place"
    : >"$W/wget.place"
}

# What comes from $2 goes to standard output; a file $3 is posted. $1 is whom it is asked of, `ca` or `place`. Redirections are not followed: they
# could carry the token elsewhere.
transfer() {
    bounded=
    if have timeout; then bounded="timeout $((limit_secs + 5))"; fi
    whom=$1 url=$2 trusting=
    if [ "$whom" = ca ]; then trusting=$pins; fi
    case $tool in
    curl)
        set -- -f -s -S --proto =http,https --max-redirs 0 --connect-timeout 10 --max-time "$limit_secs" \
            ${3+--data-binary "@$3" -H 'Content-Type: text/plain' -H Expect:} -o - "$url"
        $bounded $trusting curl -q -K "$W/curl.$whom" "$@"
        ;;
    wget)
        set -- -nv --tries=1 --max-redirect=0 --timeout="$limit_secs" ${3+--post-file="$3" --header='Content-Type: text/plain'} -O - "$url"
        $bounded $trusting wget --config="$W/wget.$whom" "$@"
        ;;
    *)
        # busybox: it checks no certificate, and takes a header as an argument only.
        [ "$whom" = place ] || return 3
        $bounded wget -q -T "$limit_secs" -O - "$url"
        ;;
    esac 7>&- </dev/null
}

# Fetches the file $1 of this machine's place into $2, bounded in time and size.
fetch() {
    room=$(free_kib "$W")
    most=$((${room:-0} / 3))
    [ "$most" -le "$MOST_KIB" ] || most=$MOST_KIB
    rm -f "$2"
    if [ "$from" = ca ]; then
        set -- "$1" "$2" ca "$ca/v1/machine/$machine/$1"
    else
        set -- "$1" "$2" place "$from/$1"
    fi
    { transfer "$3" "$4" && echo whole >"$W/came"; } 2>"$W/words" | head -c $((most * 1024 + 1)) >"$2"
    if [ ! -e "$2" ] || [ "$(size_of "$2")" -gt $((most * 1024)) ]; then
        rm -f "$2" "$W/came"
        why="$4 is larger than $most KiB: it was not taken"
        return 1
    fi
    [ -e "$W/came" ] && rm -f "$W/came" && return 0
    rm -f "$2"
    why="$4 could not be fetched ($tool): $(tail -n 1 "$W/words" | head -c 200)"
    return 1
}

# Cuts the fetched file $1 apart into $2 and $2-sig, and opens it before that if it is sealed for this machine.
cut_apart() {
    if [ "$(head -c 8 "$1" | tr -dc 'A-Za-z_')" = Salted__ ]; then
        have openssl || { why="what was fetched is encrypted, and openssl is not here; install it, or publish with --plain" && return 1; }
        derived seal >"$W/passphrase" || { why="what was fetched is encrypted, and this machine's secret is not here; bootstrap add-machine --pull brings it" && return 1; }
        openssl enc -d -aes-256-ctr -pbkdf2 -iter 1 -md sha256 -pass "file:$W/passphrase" -in "$1" -out "$1.open" >/dev/null 2>&1
        opened=$?
        rm -f "$W/passphrase"
        [ "$opened" -eq 0 ] || { why="what was fetched cannot be opened with openssl here" && return 1; }
        mv -f "$1.open" "$1"
    fi
    [ "$(head -c 29 "$1" | tr -dc 'A-Z -')" = '-----BEGIN SSH SIGNATURE-----' ] ||
        { why="what was fetched is not what a CA publishes" && return 1; }
    sed '/^-----END SSH SIGNATURE-----$/q' <"$1" >"$2-sig"
    tail -c "+$(($(size_of "$2-sig") + 1))" "$1" >"$2"
    rm -f "$1"
}

# Hands $W/$1, a krl, a bundle or an order, to the applier: the same request as over ssh. What it says goes to $W/said and on. Where the signature does
# not hold, the fleet key may have been succeeded: what leads from the one that is trusted here to the newest is fetched, and both handed over.
hand_over() {
    if ask_applier "$1" ''; then return 0; fi
    case $refusal in *'"code":"bad-signature"'*) ;; *) return 1 ;; esac
    fetch successions "$W/successions" && [ -s "$W/successions" ] || return 1
    why='' refusal=''
    ask_applier "$1" "$(size_of "$W/successions")"
}

# Arguments: NAME, the length of the successions to send before it, if any.
ask_applier() {
    nonce=$(head -c 32 /dev/urandom | sha256sum | cut -c1-32)
    words="apply nonce=$nonce confirm=120"
    if [ "$1" = order ]; then words="$order_verb fetched=yes"; fi
    {
        printf 'ssh-ca-request v1 %s %s%s-sig=%s %s=%s\n' \
            "$words" "${2:+successions=$2 }" "$1" "$(size_of "$W/$1-sig")" "$1" "$(size_of "$W/$1")" &&
            if [ -n "$2" ]; then cat "$W/successions"; fi && cat "$W/$1-sig" "$W/$1"
    } >"$W/request"
    "$APPLIER" <"$W/request" >"$W/said" 2>"$W/words" 7>&-
    grep -v -e '^{"step":"done"}$' -e '^{"step":"refused"' "$W/said"
    case $(tail -n 1 "$W/said") in
    '{"step":"done"}') return 0 ;;
    '{"step":"refused"'*)
        # As it said it, so that the CA hears the same.
        refusal=$(tail -n 1 "$W/said")
        return 1
        ;;
    esac
    why="the applier did not come to its end: $(tail -n 1 "$W/words" | head -c 200)"
    return 1
}

# A fresh login from here to here, over a new connection to the sshd that has the new configuration: only below it does the applier take the
# confirmation. Without it, the timer puts the old configuration back.
confirm_by_login() {
    find_loopback
    printf 'ssh-ca-request v1 confirm nonce=%s\n' "$nonce" >"$W/request"
    bounded=
    if have timeout; then bounded='timeout 40'; fi
    for pause in 1 2 4 8 0; do
        $bounded ssh -F none -T -i "$LOOPBACK" -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
            -o PreferredAuthentications=publickey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
            -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=10 -o KexAlgorithms=curve25519-sha256 -o LogLevel=ERROR -p "$port" \
            -l ssh-ca-sync -- "$address" <"$W/request" >"$W/confirmed" 2>"$W/words" 7>&-
        if grep -q '"name":"confirmed"' "$W/confirmed"; then return 0; fi
        # It may have come through, and only its answer was lost.
        if [ ! -d "$STATE/pending" ] && stands "$1"; then return 0; fi
        sleep "$pause"
    done
    why="the new configuration does not let a login from this machine to itself in, so it is put back: $(tail -n 1 "$W/words" | head -c 200)"
    return 1
}

# Whether the bundle with this hash is what was applied last.
stands() {
    hash=
    if [ -s "$STATE/applied" ]; then read -r _ hash _ <"$STATE/applied"; fi
    [ "$hash" = "$1" ]
}

# Whether the file $1 with the hash $2 was taken already, and what it brought stands here still. The hint is believed in nothing else.
is_there() {
    [ -n "$2" ] && [ "$(cat "$STATE/pulled-$1" 2>/dev/null)" = "$2 $(standing "$1")" ]
}

# What stands here of it, as one word.
standing() {
    case $1 in
    krl) sha256 "$KRL" 2>/dev/null || echo none ;;
    # What was done once stays done.
    order) echo 'done' ;;
    *) sha256 "$STATE/applied" 2>/dev/null || echo none ;;
    esac
}

# Notes that the file with hash $2 was taken. What cannot be noted is fetched again.
taken() { echo "$2 $(standing "$1")" | write_whole "$STATE/pulled-$1" 600 2>/dev/null || :; }

# Something is not as it should be: $1 is a word for programs, $2 a sentence. The work goes on.
trouble() {
    refusal=$(printf '{"step":"refused","code":"%s","detail":"%s"}' "$1" "$(json "$2")")
}

# The same, and nothing more can be done.
failed() {
    trouble "$1" "$2"
    finish
}

# The last line, and a word in the system's log where it is another than the last time.
finish() {
    old=$(cat "$STATE/pull-trouble" 2>/dev/null)
    if [ "$old" != "$refusal" ]; then
        printf '%s\n' "$refusal" | write_whole "$STATE/pull-trouble" 600 2>/dev/null
        if have logger; then
            if [ -n "$refusal" ]; then
                logger -p auth.warning -t ssh-ca "fetching: $refusal" 2>/dev/null
            else
                logger -p auth.notice -t ssh-ca 'fetching works again' 2>/dev/null
            fi
        fi
    fi
    if [ -n "$refusal" ]; then
        printf '%s\n' "$refusal"
        exit 1
    fi
    echo '{"step":"done"}'
    exit 0
}

pull_krl() {
    is_there krl "$head_krl" && return 0
    fetch krl "$W/fetched" && hash=$(sha256 "$W/fetched") && cut_apart "$W/fetched" "$W/krl" || {
        trouble not-fetched "$why"
        return 1
    }
    why=
    hand_over krl || {
        [ -z "$why" ] || trouble failed "$why"
        return 1
    }
    grep '"step":"session"' "$W/said" >>"$W/sessions"
    changed=yes
    taken krl "$hash"
}

# What the CA asks for once. A copy of what was done is passed over, whoever serves it; the CA sees in the report which number stands here.
pull_order() {
    [ -n "$head_order" ] && ! is_there order "$head_order" || return 0
    fetch order "$W/fetched" && hash=$(sha256 "$W/fetched") && cut_apart "$W/fetched" "$W/order" || {
        trouble not-fetched "$why"
        return 1
    }
    # Only what it is to be asked for: the applier holds it against what is signed.
    order_verb=$(sed -n '4s/^verb \([a-z-]*\)$/\1/p;4q' "$W/order")
    case $order_verb in
    end-sessions | remove) ;;
    *)
        trouble bad-request "the order that was fetched asks for something that this machine does not know"
        return 1
        ;;
    esac
    why=
    if hand_over order; then
        if [ "$order_verb" = remove ]; then say_farewell; fi
    else
        case $refusal in
        *'"code":"old-order"'*) refusal='' ;;
        *)
            [ -z "$why" ] || trouble failed "$why"
            return 1
            ;;
        esac
    fi
    grep '"step":"session"' "$W/said" >>"$W/sessions"
    changed=yes
    taken order "$hash"
}

# The CA is off this machine, and this was the last that was fetched: what is left is to say so.
say_farewell() {
    unlock pull
    # If it does not arrive, or if this is killed here, the timer of the removal says it.
    if /bin/sh "$REMOVING/applier" resume 7>&-; then did reported; fi
    echo '{"step":"done"}'
    exit 0
}

pull_bundle() {
    is_there bundle "$head_bundle" && return 0
    fetch bundle "$W/fetched" && hash=$(sha256 "$W/fetched") || {
        trouble not-fetched "$why"
        return 1
    }
    if [ -s "$STATE/pull-waits" ] && read -r waits until <"$STATE/pull-waits" && [ "$waits" = "$hash" ] && is_number "$until"; then
        left=$((until - $(now)))
        # A clock that stepped back makes none wait for longer.
        if [ "$left" -gt 0 ] && [ "$left" -le "$WAIT_SECS" ]; then
            trouble not-confirmed "this configuration did not let a login from this machine to itself in, and was put back; it is tried again in $left s"
            return 1
        fi
    fi
    file_hash=$hash
    cut_apart "$W/fetched" "$W/bundle" || {
        trouble not-fetched "$why"
        return 1
    }
    bundle_hash=$(sha256 "$W/bundle")
    why=
    hand_over bundle || {
        [ -z "$why" ] || trouble failed "$why"
        return 1
    }
    if grep -q "\"awaiting\":\"$nonce\"" "$W/said"; then
        confirm_by_login "$bundle_hash" || {
            echo "$file_hash $(($(now) + WAIT_SECS))" | write_whole "$STATE/pull-waits" 600 2>/dev/null
            trouble not-confirmed "$why"
            return 1
        }
        did confirmed "over a login from this machine to itself"
    fi
    rm -f "$STATE/pull-waits"
    changed=yes
    taken bundle "$file_hash"
}

# Tells the CA how this machine stands, signed with the host key that the CA has pinned, over a nonce of the CA's. Where the CA cannot be
# reached from here nothing is told, and it counts this machine as not proven.
report_back() {
    [ -n "$ca" ] && [ -s "$STATE/pull-key" ] || return 0
    last=0 soon=0
    if [ -s "$STATE/pull-reported" ]; then read -r last told soon <"$STATE/pull-reported"; fi
    is_number "$last" || last=0
    is_number "$soon" || soon=0
    age=$(($(now) - last))
    # With what stands here: a report that did not arrive, or was never sent because of a power cut, is sent by the next run.
    says=$({ printf '%s\n' "$refusal" && cat "$STATE/pulled-krl" "$STATE/pulled-bundle" "$STATE/pulled-order" 2>/dev/null; } | sha256sum | cut -d' ' -f1)
    if [ "$changed" = no ] && [ "${told-}" = "$says" ] && [ "$age" -ge 0 ] && [ "$age" -lt "$REPORT_SECS" ]; then
        [ "$soon" -ge 1 ] && [ "$soon" -le "$SOON" ] || return 0
    fi
    find_key || return 0
    ask_nonce || return 0
    echo 'ssh-ca-request v1 report' >"$W/request"
    "$APPLIER" <"$W/request" >"$W/said" 2>/dev/null 7>&-
    {
        printf 'ssh-ca-pull-report v1\nmachine %s\nnonce %s\n' "$machine" "$nonce"
        grep -E '"state":"(ended|unknown)"' "$W/sessions" | head -n 100
        # As it is now, not as it was when it was fetched.
        grep -E '^\{"step":"session".*"state":"open"' "$W/said" | head -n 100
        grep '^{"step":"state"' "$W/said" | tail -n 1
        if [ -n "$refusal" ]; then printf '%s\n' "$refusal"; else echo '{"step":"done"}'; fi
    } >"$W/report"
    if grep -qE '"state":"(open|unknown)"' "$W/report"; then soon=$((soon + 1)); else soon=0; fi
    if post_report; then
        echo "$(now) $says $soon" | write_whole "$STATE/pull-reported" 600 2>/dev/null
        did reported
    fi
}

# Sets nonce: the CA's, for one report.
ask_nonce() {
    # No longer than this for a CA that does not answer: a firewall may swallow what goes there.
    if [ "$limit_secs" -gt 15 ]; then limit_secs=15; fi
    nonce=$(transfer ca "$ca/v1/nonce" 2>"$W/words" | head -c 1000 | sed -n 's/.*"nonce" *: *"\([A-Za-z0-9_-]*\)".*/\1/p')
    [ -n "$nonce" ]
}

# Signs $W/report with $key and sends it.
post_report() {
    rm -f "$W/report.sig"
    ssh-keygen -q -Y sign -f "$key" -n pull-report@ssh-ca "$W/report" >/dev/null 2>"$W/words" && [ -s "$W/report.sig" ] || return 1
    cat "$W/report.sig" "$W/report" >"$W/post"
    transfer ca "$ca/v1/machine/$machine/report" "$W/post" >"$W/answer" 2>"$W/words"
}

# The pauses between tries to say the last word grow from a minute to an hour; this many are about a week. After that nobody wants to hear it,
# or nobody can, and nothing of the CA's stays here for ever.
FAREWELLS=180

# Tells the CA, once, that it is off this machine. Ends with 0 where there is nothing left to say: it was heard, it was said often enough, or
# the CA knows this machine no more (the answer to an earlier try was lost).
farewell() {
    read_settings
    lock pull 0
    tries=0 next=0
    if [ -s "$KEPT/tries" ]; then read -r tries next <"$KEPT/tries"; fi
    is_number "$tries" && is_number "$next" || tries=0 next=0
    left=$((next - $(now)))
    # A clock that stepped back makes none wait for longer.
    if [ "$left" -gt 0 ] && [ "$left" -le 3600 ]; then exit 1; fi
    [ "$tries" -lt "$FAREWELLS" ] || exit 0
    pause=60
    if [ "$tries" -ge 6 ]; then pause=3600; else pause=$((60 << tries)); fi
    # Before it is tried: what is killed over and over must not ask over and over.
    echo "$((tries + 1)) $(($(now) + pause))" | write_whole "$KEPT/tries" 600 || exit 1
    make_work
    find_tool
    find_key && ask_nonce || exit 1
    read -r number <"$KEPT/order"
    {
        printf 'ssh-ca-pull-report v1\nmachine %s\nnonce %s\n' "$machine" "$nonce"
        did removed "$number"
        echo '{"step":"done"}'
    } >"$W/report"
    if post_report; then exit 0; fi
    # curl says `error: 401`, wget `Authentication Failed` or `ERROR 401`.
    grep -qE '401|Authentication Failed' "$W/words" && exit 0
    exit 1
}

# Sets key to the private half of the host key that the CA has pinned.
find_key() {
    blob=${host_key#* }
    find_sshd
    "$SSHD" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | sed -n 's/^hostkey //p' >"$W/host-keys"
    while read -r key; do
        case "$(cat "$key.pub" 2>/dev/null) " in *" $blob "*) return 0 ;; esac
    done <"$W/host-keys"
    return 1
}

refusal='' changed=no why=''
[ "$(id -u)" = 0 ] || refuse failed "the puller must run as root"
if [ "${1-}" = farewell ]; then
    KEPT=$REMOVING/farewell
    farewell
fi
read_settings
case ${1-} in
now) patience=180 ;;
'')
    patience=0
    # A fleet that comes at once would be an attack.
    if [ "$jitter" -gt 0 ]; then sleep $(($(random) % jitter)); fi
    ;;
*) refuse bad-request "the puller knows no word but now" ;;
esac
lock pull "$patience"
# What is being taken off is not put on again.
[ ! -d "$REMOVING" ] || refuse busy "the CA is being taken off this machine; its timer finishes that"
make_work
: >"$W/sessions"
find_tool
head_krl='' head_bundle='' head_order=''
# No more than a hint, so that nothing is fetched for nothing: where it is not there, or nonsense, everything is fetched.
if fetch head "$W/head" && [ "$(size_of "$W/head")" -lt 1000 ]; then
    head_krl=$(sed -n 's/^krl \([0-9a-f]\{64\}\)$/\1/p' "$W/head" | head -n 1)
    head_bundle=$(sed -n 's/^bundle \([0-9a-f]\{64\}\)$/\1/p' "$W/head" | head -n 1)
    head_order=$(sed -n 's/^order \([0-9a-f]\{64\}\)$/\1/p' "$W/head" | head -n 1)
fi
worst=''
pull_krl || worst=$refusal
refusal=''
pull_order || worst=${worst:-$refusal}
refusal=''
# Not what an order was to take off, and did not get done with.
[ -d "$REMOVING" ] || pull_bundle || :
# The one that matters more is told.
refusal=${worst:-$refusal}
report_back
finish
