/* What the two halves of the jail agree on. In the environment:
 *
 *   CORDON_JAILED        the render server
 *   CORDON_JAIL          stock (crosvm's own filter), jit (and executable memory besides), or the path
 *                        of a policy for crosvm's --seccomp-policy-dir: lines "name: 1"
 *   CORDON_JAIL_PRELOAD  what stands in LD_PRELOAD besides the jail's own entry
 *   CORDON_JAIL_BINDS    OUTSIDE=INSIDE:..., besides what crosvm binds; read-only
 */
#ifndef CORDON_TESTS_JAIL_CROSVM_ENTRY_H
#define CORDON_TESTS_JAIL_CROSVM_ENTRY_H

#define CROSVM_ENTRY_LIBRARY "libcrosvm_entry.so"
#define CROSVM_JAIL_IMPOSSIBLE 77

#endif
