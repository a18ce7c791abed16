/* The front end as a whole: what its clients share. */
#ifndef CORDON_SERVER_VTEST_FRONT_H
#define CORDON_SERVER_VTEST_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/list.h"
#include "ipc/log.h"

struct cordon_server;
struct loop;
struct loop_source;

struct front {
    struct loop *loop;
    struct cordon_server *server; /* one render server for all clients, a context for each */
    struct loop_source *server_source;
    struct list clients;
    uint32_t n_clients, max_clients;
    uint32_t next_ctx_id;
    bool once; /* end with the first client */
    /* The listening socket; -1 once it is closed. */
    int listen_fd;
    struct loop_source *listen_source;
    struct log_limit limit;
};

/* A client has gone: its place is free. */
void front_client_gone(struct front *f);

#endif
