/* A PKCS#11 module for tests: SoftHSM with faults, as real drivers have them.
 *
 * Every call goes to SoftHSM, but C_Sign looks into the file that $FAULT names first:
 *   hang   it never returns
 *   lie    the last byte of the signature is wrong
 *   gone   CKR_DEVICE_REMOVED
 *   crash  the process dies
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*any_call)(void);
typedef ulong_t (*sign_call)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *);

/* CK_FUNCTION_LIST of PKCS#11 2.40: a version, then 68 functions in the order of the standard. */
struct functions {
    unsigned char major, minor;
    any_call calls[68];
};

enum { C_SIGN = 43, CKR_DEVICE_REMOVED = 0x32, CKR_GENERAL_ERROR = 5 };

static struct functions ours;
static sign_call real_sign;

static ulong_t sign(ulong_t session, unsigned char *data, ulong_t length, unsigned char *signature, ulong_t *room) {
    char fault[16] = "";
    const char *name = getenv("FAULT");
    FILE *file = name ? fopen(name, "r") : NULL;
    if (file) {
        if (!fgets(fault, sizeof fault, file)) fault[0] = 0;
        fclose(file);
    }
    if (!strcmp(fault, "hang"))
        for (;;) pause();
    if (!strcmp(fault, "crash")) abort();
    if (!strcmp(fault, "gone")) return CKR_DEVICE_REMOVED;
    ulong_t answer = real_sign(session, data, length, signature, room);
    if (!strcmp(fault, "lie") && answer == 0 && signature) signature[*room - 1] ^= 1;
    return answer;
}

ulong_t C_GetFunctionList(struct functions **list) {
    void *softhsm = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW);
    ulong_t (*theirs)(struct functions **) = softhsm ? dlsym(softhsm, "C_GetFunctionList") : NULL;
    struct functions *real;
    if (!theirs || theirs(&real) != 0) return CKR_GENERAL_ERROR;
    ours = *real;
    real_sign = (sign_call)ours.calls[C_SIGN];
    ours.calls[C_SIGN] = (any_call)sign;
    *list = &ours;
    return 0;
}
