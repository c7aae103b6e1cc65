# PID 1 of a machine: what a distribution's init does at boot, as far as an sshd and a cron need it.
set -eu
umask 022
seed=/run/seed
name=$(uname -n)

# First boot: what an installer would have done. Everything of the seed is data in files.
if [ -d "$seed" ]; then
    printf '%s\n' "$name" >/etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n10.77.0.1 ca.corp.example\n' "$name" >/etc/hosts
    tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
    for kind in ed25519 ecdsa; do
        ssh-keygen -q -t "$kind" -N '' -C "root@$name" -f "/etc/ssh/ssh_host_${kind}_key"
    done
    if [ -e "$seed/root-only" ]; then
        userdel --remove ssh-admin 2>/dev/null
        account=root home=/root
    else
        account=ssh-admin home=/home/ssh-admin
    fi
    if [ -s "$seed/keys" ]; then
        mkdir -m 700 "$home/.ssh"
        cp "$seed/keys" "$home/.ssh/authorized_keys"
        chmod 600 "$home/.ssh/authorized_keys"
        chown -R "$account:" "$home/.ssh"
    fi
    if [ -e "$seed/password" ]; then
        { printf '%s:' "$account"; cat "$seed/password"; } | chpasswd
    fi
    if [ -e "$seed/sudoers" ]; then
        cp "$seed/sudoers" /etc/sudoers.d/ssh-admin
        chmod 440 /etc/sudoers.d/ssh-admin
    fi
    if [ -e "$seed/sshd_config" ]; then
        cp "$seed/sshd_config" /etc/ssh/sshd_config.d/50-site.conf
    fi
    rm -rf "$seed"
fi

# As systemd-tmpfiles does at each boot.
find /tmp -mindepth 1 -delete
mkdir -p /run/sshd /run/lock /run/user
: >/run/utmp
chgrp utmp /run/utmp && chmod 664 /run/utmp
for record in wtmp btmp lastlog; do
    [ -e "/var/log/$record" ] || { : >"/var/log/$record"; chgrp utmp "/var/log/$record"; chmod 664 "/var/log/$record"; }
done
chmod 660 /var/log/btmp
# shellcheck disable=SC2046 # two words or none
sshd_env=$(cat /etc/pool-sshd-environment 2>/dev/null || :)

set +e
# shellcheck disable=SC2086 # words on purpose
env $sshd_env /usr/sbin/sshd -D -E /var/log/sshd.log -o LogLevel=VERBOSE &
if [ -x /usr/sbin/cron ]; then /usr/sbin/cron -f & fi
sleep infinity &
# Reaps what its daemons leave behind. sshd is not started again when it dies: nor does Debian before the next boot or an order.
while :; do wait; done
