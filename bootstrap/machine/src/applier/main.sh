
# === one request ==================================================================================================================

first_contact=no
case ${1-} in
tick)
    make_work
    tick "${2-}"
    exit 0
    ;;
resume)
    make_work
    resume_removal
    exit 0
    ;;
first-contact) first_contact=yes ;;
'') ;;
*) refuse bad-request "the applier takes no arguments" ;;
esac

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
if [ "$word_trust" = replace ]; then replace_trust; fi
case $verb in
apply) apply ;;
dry-run) dry_run ;;
confirm) confirm ;;
report) end_revoked list ;;
end-sessions) end_ordered ;;
check)
    check
    facts
    certificate_facts
    print_facts
    ;;
keys)
    facts
    login_facts
    print_facts
    ;;
krl) show_krl ;;
roll-back) roll_back ;;
remove)
    # Without the CA's rules an adopted account takes its own keys again: nothing that the key of ssh-ca-sync alone may bring about.
    if [ "$first_contact" = no ]; then read_order remove; fi
    remove
    ;;
pull) pull_now ;;
prove) prove ;;
*) refuse bad-request "this applier does not know the verb; bring it up to date with bootstrap" ;;
esac
state_line
echo '{"step":"done"}'
