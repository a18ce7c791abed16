#include "worker/program.h"

int main(int argc, char **argv)
{
    return cordon_worker_main(argc, argv);
}
