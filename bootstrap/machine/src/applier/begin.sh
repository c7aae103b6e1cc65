
# === one request ==================================================================================================================
# A KRL alone is done here, before the rest of this text is so much as read: nothing in it can stand in a revocation's way (R10), and a shell
# that has read less starts its programs sooner.

first_contact=no
case ${1-} in
tick | resume) ;;
first-contact) first_contact=yes ;;
'') ;;
*) refuse bad-request "the applier takes no arguments" ;;
esac

case ${1-} in
tick | resume) ;;
*)
    is_root || refuse failed "the applier must run as root"
    make_work
    read_request
    if [ "$first_contact" = no ] && { [ -e "$W/fleet" ] || [ -e "$W/admin-key" ] || [ -e "$W/pull-key" ] || [ -n "$word_trust" ]; }; then
        refuse bad-request "new fleet keys, admin accounts and secrets come through an admin's own login only"
    fi
    if [ "$first_contact" = no ] && [ "$verb" = prove ]; then
        # A login over loopback passes from="127.0.0.1" and starts what a forced command starts: not for the key of ssh-ca-sync alone.
        refuse bad-request "logins are proven through an admin's own login only (bootstrap)"
    fi
    if [ "$first_contact" = no ] && [ "$verb" = roll-back ]; then
        # It would undo what the server wants without the server's word. The timer goes on all the same.
        refuse bad-request "a change is put back through an admin's own login only (bootstrap), or by the timer"
    fi
    if [ "$first_contact" = no ] && [ "$verb" = pull ]; then
        refuse bad-request "a machine fetches by its own timer, or at an admin's word (bootstrap)"
    fi
    follow_successions
    if [ "$verb" = apply ] && [ -e "$W/krl" ] && [ ! -e "$W/bundle" ] && [ -z "$word_trust" ]; then
        apply_krl
        state_line
        echo '{"step":"done"}'
        exit 0
    fi
    ;;
esac
