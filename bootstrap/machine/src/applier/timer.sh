
# === the timer on the machine ==================================================================================================
# It runs the applier at least every minute and once after a boot, until it is disarmed. It knows no clock: deadlines are in uptime.

BUSYBOX_CRON=/etc/crontabs/root

# What runs for a purpose: `restore` puts a snapshot back when it is due, `removal` finishes what was begun.
timer_of() {
    CRON=/etc/cron.d/ssh-ca-$1
    UNIT=/etc/systemd/system/ssh-ca-$1
    LOCAL_D=/etc/local.d/ssh-ca-$1.start
    case $1 in
    restore) waiting=$STATE/pending word='tick' meaning='Put the ssh configuration back unless the change was confirmed' ;;
    *) waiting=$STATE/removing word='resume' meaning='Finish taking the SSH certificate authority off this machine' ;;
    esac
    TICK="[ ! -d $waiting ] || /bin/sh $waiting/applier $word"
}

# Whether a process of root runs an executable of one of these names.
runs() {
    for executable in /proc/[0-9]*/exe; do
        program=$(readlink "$executable" 2>/dev/null) || continue
        program=${program% (deleted)}
        for name; do
            case $program in
            /usr/sbin/"$name" | /usr/bin/"$name" | /sbin/"$name" | /bin/"$name")
                status=${executable%/exe}/status
                [ "$(awk '/^Uid:/ { print $2 }' "$status" 2>/dev/null)" != 0 ] || return 0
                ;;
            esac
        done
    done
    return 1
}

# Sets timer to what can put a snapshot back here; empty where nothing can.
find_timer() {
    timer=
    if [ -d /run/systemd/system ] && have systemctl; then
        timer=systemd
    elif [ -d /etc/cron.d ] && runs cron crond; then
        timer=cron
    elif [ -d /etc/local.d ] && have rc-update && runs crond busybox && [ -e "$BUSYBOX_CRON" ]; then
        timer=openrc
    fi
}

arm() { # restore|removal
    timer_of "$1"
    case $timer in
    systemd)
        printf '%s\n' '[Unit]' "Description=$meaning" \
            '[Service]' 'Type=oneshot' "ExecStart=/bin/sh -c '$TICK'" | write_whole "$UNIT.service" 644 &&
            printf '%s\n' '[Unit]' "Description=$meaning" \
                '[Timer]' 'OnActiveSec=10' 'OnBootSec=10' 'OnUnitActiveSec=10' 'AccuracySec=1' \
                '[Install]' 'WantedBy=timers.target' | write_whole "$UNIT.timer" 644 &&
            systemctl daemon-reload >/dev/null 2>&1 &&
            systemctl enable --now "${UNIT##*/}.timer" >/dev/null 2>&1 &&
            systemctl is-active --quiet "${UNIT##*/}.timer"
        ;;
    cron)
        printf '%s\n' "# $meaning." 'SHELL=/bin/sh' \
            "* * * * * root $TICK" "@reboot root $TICK boot" | write_whole "$CRON" 644
        ;;
    openrc)
        { grep -vF "$waiting" "$BUSYBOX_CRON" && echo "* * * * * $TICK"; } | write_whole "$BUSYBOX_CRON" 600 &&
            printf '%s\n' '#!/bin/sh' "$TICK boot" | write_whole "$LOCAL_D" 755 &&
            rc-update add local default >/dev/null 2>&1
        ;;
    *) return 1 ;;
    esac
}

disarm() { # restore|removal
    timer_of "$1"
    if [ -e "$UNIT.timer" ] || [ -e "$UNIT.service" ]; then
        systemctl disable --now "${UNIT##*/}.timer" >/dev/null 2>&1
        rm -f "$UNIT.timer" "$UNIT.service"
        systemctl daemon-reload >/dev/null 2>&1
    fi
    rm -f "$CRON" "$LOCAL_D"
    if [ -e "$BUSYBOX_CRON" ] && grep -qF "$waiting" "$BUSYBOX_CRON"; then
        grep -vF "$waiting" "$BUSYBOX_CRON" | write_whole "$BUSYBOX_CRON" 600
    fi
    return 0
}

# The pid of the listening sshd; nothing where it cannot be told.
listener() {
    find_sshd
    file=$("$SSHD" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | sed -n 's/^pidfile //p')
    sshd_processes >"$W/sshd"
    if [ -s "${file:-/}" ] && read -r pid <"$file" && grep -q "^$pid [0-9]* 0 " "$W/sshd"; then
        echo "$pid"
        return
    fi
    awk '{ line[$1] = $0; up[$1] = $2; uid[$1] = $3 } END { for (p in line) if (!(up[p] in line) && uid[p] == 0) print p }' "$W/sshd" |
        while read -r pid; do
            if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q '\[listener\]'; then echo "$pid"; fi
        done | head -n 1
}

# Whether, of the paths that end the lines of $1, sshd reads one when it starts and not again. What else is the CA's (principals, CA keys,
# revocations, the keys of ssh-ca-sync, PAM, sudo) is read at each login, and a reload for it would close the listener for nothing. A list that
# cannot be read tells nothing: then it is reloaded.
sshd_must_reload() {
    [ -r "$1" ] || return 0
    grep -qE " ($SSHD_CONFIG|$DROP_IN|$CA/host-cert\.pub)\$" "$1"
}

# Tells sshd to read its configuration again. The caller has run `sshd -t`: a HUP with a bad configuration kills the listener.
# Sets told: whether one was.
reload_sshd() {
    told=yes bounded=
    if have timeout; then bounded='timeout 30'; fi
    if [ -d /run/systemd/system ] && have systemctl; then
        for unit in ssh sshd; do
            # One that hangs would keep the lock, and with it the timer, from putting anything back.
            if systemctl is-active --quiet "$unit.service" && $bounded systemctl reload "$unit.service" >/dev/null 2>&1; then return 0; fi
        done
    fi
    master=$(listener)
    # Not running: it reads the configuration when it starts.
    [ -n "$master" ] && process "$master" && began=$started || {
        told=no
        return 0
    }
    kill -HUP "$master" || return 1
    rounds=0
    while [ "$rounds" -lt 10 ]; do
        process "$master" && [ "$started" = "$began" ] || return 1
        rounds=$((rounds + 1))
        sleep 0.05 2>/dev/null || { sleep 1 && rounds=10; }
    done
    return 0
}
