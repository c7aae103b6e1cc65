
# === fetching, on this side of it: the timer, and the login from here to here ======================================================
# The puller and its settings come in bundles. What belongs to this machine alone is made here: the timer by what runs timers, the key of the
# loopback login, the secret that came with an admin's login.

PULLER=$STATE/puller
PULL_CRON=/etc/cron.d/ssh-ca-pull
PULL_UNIT=/etc/systemd/system/ssh-ca-pull
LOOPBACK=$STATE/loopback
LOOPBACK_KEYS=$CA/loopback_authorized_keys
PULL_LINE="[ ! -x $PULLER ] || $PULLER >/dev/null 2>&1"

# Sets address and port: where this machine's sshd listens for itself.
find_loopback() {
    find_sshd
    "$SSHD" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null >"$W/effective"
    port=$(sed -n 's/^port //p' "$W/effective" | head -n 1)
    port=${port:-22}
    address=127.0.0.1
    listen=$(sed -n 's/^listenaddress //p' "$W/effective" | head -n 1)
    case $listen in
    '' | 0.0.0.0:* | '[::]:'*) ;;
    '['*) address=${listen#'['} && address=${address%%']'*} ;;
    *) address=${listen%:*} ;;
    esac
}

# The key of the login from here to here: made here, root's alone, good for the applier and from this machine's own addresses only.
make_loopback() {
    if [ ! -s "$LOOPBACK" ] || [ ! -s "$LOOPBACK.pub" ]; then
        rm -f "$LOOPBACK" "$LOOPBACK.pub" "$LOOPBACK.new" "$LOOPBACK.new.pub"
        # The public half first: with the private one alone a killed run would be taken for whole.
        ssh-keygen -q -t ed25519 -N '' -C ssh-ca-loopback -f "$LOOPBACK.new" >/dev/null 2>&1 &&
            sync "$LOOPBACK.new" && mv -f "$LOOPBACK.new.pub" "$LOOPBACK.pub" && mv -f "$LOOPBACK.new" "$LOOPBACK" || return 1
    fi
    find_loopback
    from=127.0.0.1,::1
    case $address in 127.0.0.1 | ::1) ;; *) from=$from,$address ;; esac
    printf 'restrict,command="sudo -n %s",from="%s" %s\n' "$STATE/applier" "$from" "$(cat "$LOOPBACK.pub")" >"$W/loopback"
    if cmp -s "$W/loopback" "$LOOPBACK_KEYS" && [ "$(stat -c '%u %g %a' "$LOOPBACK_KEYS")" = '0 0 644' ]; then return 0; fi
    write_whole "$LOOPBACK_KEYS" 644 <"$W/loopback"
}

# Writes what the timer is made of to $W/pull-timer, and sets pull_timer to the file that it stands in; fails where nothing runs timers.
wanted_pull_timer() {
    every=$(sed -n 's/^every \([0-9]*\)$/\1/p' "$STATE/pull.conf" 2>/dev/null | head -n 1)
    is_number "$every" && [ "$every" -ge 1 ] && [ "$every" -le 59 ] || every=5
    find_timer
    case $timer in
    systemd)
        pull_timer=$PULL_UNIT.timer
        printf '%s\n' '[Unit]' 'Description=Fetch what the SSH certificate authority wants here' \
            '[Timer]' 'OnBootSec=30' 'OnActiveSec=30' "OnUnitActiveSec=${every}min" '[Install]' 'WantedBy=timers.target'
        ;;
    cron)
        pull_timer=$PULL_CRON
        printf '%s\n' '# Written by the SSH certificate authority: this machine fetches for itself.' 'SHELL=/bin/sh' "*/$every * * * * root $PULL_LINE"
        ;;
    openrc)
        pull_timer=$BUSYBOX_CRON
        grep -v "$PULLER" "$BUSYBOX_CRON"
        echo "*/$every * * * * $PULL_LINE"
        ;;
    *) return 1 ;;
    esac >"$W/pull-timer"
}

pull_timer_stands() { wanted_pull_timer && cmp -s "$W/pull-timer" "$pull_timer"; }

# The timer and the loopback key stand here if and only if the puller does. A timer that is left over starts nothing.
set_pull() {
    if [ ! -e "$PULLER" ]; then
        remove_pull_timer
        return 0
    fi
    make_loopback || return 1
    if ! pull_timer_stands; then
        [ -n "${timer-}" ] || return 1
        case $timer in
        systemd)
            # What looks for sessions of a revoked certificate runs on after the fetching has ended.
            printf '%s\n' '[Unit]' 'Description=Fetch what the SSH certificate authority wants here' \
                '[Service]' 'Type=oneshot' 'KillMode=process' "ExecStart=/bin/sh -c '$PULL_LINE'" | write_whole "$PULL_UNIT.service" 644 &&
                write_whole "$pull_timer" 644 <"$W/pull-timer" && systemctl daemon-reload >/dev/null 2>&1 || return 1
            ;;
        cron) write_whole "$pull_timer" 644 <"$W/pull-timer" || return 1 ;;
        openrc) write_whole "$pull_timer" 600 <"$W/pull-timer" || return 1 ;;
        esac
        did pull-timer "$timer"
    fi
    if [ "$timer" = systemd ] && ! systemctl is-active --quiet ssh-ca-pull.timer; then
        systemctl enable --now ssh-ca-pull.timer >/dev/null 2>&1 || return 1
    fi
    return 0
}

remove_pull_timer() {
    if [ -e "$PULL_UNIT.timer" ] || [ -e "$PULL_UNIT.service" ]; then
        systemctl disable --now ssh-ca-pull.timer >/dev/null 2>&1
        rm -f "$PULL_UNIT.timer" "$PULL_UNIT.service"
        systemctl daemon-reload >/dev/null 2>&1
    fi
    rm -f "$PULL_CRON"
    if [ -e "$BUSYBOX_CRON" ] && grep -q "$PULLER" "$BUSYBOX_CRON"; then
        grep -v "$PULLER" "$BUSYBOX_CRON" | write_whole "$BUSYBOX_CRON" 600
    fi
    return 0
}

# Everything of it, for a machine that the CA is taken off.
remove_pull() {
    remove_pull_timer
    rm -f "$LOOPBACK" "$LOOPBACK.pub" "$LOOPBACK_KEYS" "$STATE"/pull-* "$STATE"/pulled-* "$PULLER" "$STATE/pull.conf"
}

# The secret that the machine shares with its CA, as an admin's login brought it.
keep_pull_key() {
    [ -s "$W/pull-key" ] || return 0
    read -r secret <"$W/pull-key"
    is_hex "$secret" 64 || refuse bad-request "the secret for fetching is none"
    cmp -s "$W/pull-key" "$STATE/pull-key" || write_whole "$STATE/pull-key" 600 <"$W/pull-key"
}

# Fetches now, for an admin who wants to see it.
pull_now() {
    [ -x "$PULLER" ] || refuse no-pull "this machine does not fetch for itself; bootstrap add-machine --pull makes it"
    "$PULLER" now 8>&- 9>&-
    exit $?
}
