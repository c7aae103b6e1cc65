
# === every other request ==========================================================================================================

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
esac

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
