#!/bin/sh
# Records, as root, whose certificate opened an ssh connection. pam_exec runs it from sshd's privileged process.
# It must never stand in the way of a login: whatever fails, it ends well.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
[ "${PAM_SERVICE-}" = sshd ] || exit 0
sessions=/run/ssh-ca/sessions
# At the end of a session PAM's environment is the account's: nothing of root's runs then.
[ "${PAM_TYPE-}" = open_session ] || exit 0
[ -d "$sessions" ] || mkdir -p "$sessions" 2>/dev/null || exit 0
for old in "$sessions"/[0-9]*; do
    [ -d "/proc/${old##*/}" ] || rm -f "$old"
done
read -r stat <"/proc/$PPID/stat" || exit 0
stat=${stat##*) }
# shellcheck disable=SC2086 # words on purpose
set -- $stat
shift 19
{
    printf 'started %s\n' "$1"
    printf 'account %s\n' "${PAM_USER-}"
    printf 'peer %s\n' "${PAM_RHOST-}"
    printf '%s\n' "${SSH_AUTH_INFO_0-}"
} >"$sessions/.new.$PPID" 2>/dev/null && mv -f "$sessions/.new.$PPID" "$sessions/$PPID" 2>/dev/null
exit 0
