#include "tests/policy/simulate.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BROKEN 0xffffffffu

static bool jump_taken(const struct sock_filter *insn, uint32_t a)
{
    switch (BPF_OP(insn->code)) {
    case BPF_JEQ:
        return a == insn->k;
    case BPF_JGT:
        return a > insn->k;
    case BPF_JGE:
        return a >= insn->k;
    default: /* BPF_JSET */
        return (a & insn->k) != 0;
    }
}

uint32_t simulate(const struct policy_program *program, const struct seccomp_data *data,
                  unsigned *ret_steps)
{
    uint32_t a = 0;
    unsigned pc = 0;

    /* Every jump is forward, so this ends. */
    for (*ret_steps = 1; pc < program->n_code; (*ret_steps)++) {
        const struct sock_filter *insn = &program->code[pc++];

        switch (insn->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (insn->k % 4 || insn->k > sizeof(*data) - 4) {
                return BROKEN;
            }
            memcpy(&a, (const char *)data + insn->k, 4);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= insn->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += insn->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
        case BPF_JMP | BPF_JGT | BPF_K:
        case BPF_JMP | BPF_JGE | BPF_K:
        case BPF_JMP | BPF_JSET | BPF_K:
            pc += jump_taken(insn, a) ? insn->jt : insn->jf;
            break;
        case BPF_RET | BPF_K:
            return insn->k;
        default:
            return BROKEN;
        }
    }
    return BROKEN;
}
