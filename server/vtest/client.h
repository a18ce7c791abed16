/*
 * One vtest client: its socket, its requests one after the other, its context.
 *
 * No step waits: not for the client, nor for its worker. A request that cannot go on is taken up
 * again when the descriptor it needs becomes ready; meanwhile no further request of this client is
 * read, which bounds what it can make us hold.
 *
 * At least the last word of a request stays unread in the socket until it has succeeded. A client
 * whose connection is closed like that sees a reset and stops at once; after an orderly close Mesa
 * would wait for ever.
 *
 * Reading wakes a client that sleeps for its reply, in vain. So small requests are seen, run and
 * answered while they lie in the socket, and all that were there are taken at once.
 */
#ifndef CORDON_SERVER_VTEST_CLIENT_H
#define CORDON_SERVER_VTEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"
#include "ipc/list.h"
#include "ipc/vtest_wire.h"
#include "server/vtest/ids.h"
#include "server/vtest/syncs.h"

struct cordon_context;
struct front;
struct loop_source;

/* Longest reply: header, valid, capset. */
#define CLIENT_REPLY_WORDS 64
/* A request up to this size is seen as a whole and taken as a whole; Mesa's nearly all are. */
#define CLIENT_SMALL 512

enum client_state {
    CLIENT_AHEAD,   /* sees a small request as a whole, goes on to run it */
    CLIENT_LENGTH,  /* or reads the first word of a header */
    CLIENT_COMMAND, /* sees the second */
    CLIENT_PAYLOAD, /* reads the payload but for its last word */
    CLIENT_LAST,    /* sees the last word */
    CLIENT_RUN,     /* executes; may be taken up again */
    CLIENT_REPLY,   /* sends the reply, then its descriptor */
    CLIENT_CONSUME, /* takes the last word, if it is not one of those seen */
};

/* How far a request that could not go on has come. */
struct client_progress {
    bool begun; /* RESOURCE_CREATE_BLOB: asked for */
    uint32_t res_id;
    uint32_t batch;             /* SUBMIT_CMD2: batches before this one are done */
    bool submitted;             /* its commands are */
    struct sync_update *update; /* and its syncs are held */
};

/* A fence that will set syncs. */
struct client_fence {
    struct list link; /* client::fences */
    uint32_t seqno;
    struct sync_update *update;
};

struct client {
    struct front *front;
    struct list link; /* front::clients */
    int fd;
    struct loop_source *source, *again, *timer;

    enum client_state state;
    uint8_t seen[CLIENT_SMALL]; /* what lay in the socket, and is still there */
    size_t n_seen, n_done;      /* bytes; the requests in the first n_done of them are over */
    uint8_t header[VTEST_HEADER_SIZE];
    struct vtest_request request;
    uint8_t *payload; /* request.size bytes are there in CLIENT_RUN */
    size_t payload_room, got;
    size_t unread; /* bytes of a request that is not seen, in the socket while it runs */
    struct client_progress progress;

    uint32_t reply[CLIENT_REPLY_WORDS];
    size_t reply_size, reply_sent;
    bool watches_room; /* for the rest of a reply */
    int reply_fd;      /* goes with a byte of its own behind the reply; -1: none */

    bool named; /* CREATE_RENDERER has come */
    char name[32];
    uint32_t ctx_id;
    struct cordon_context *context; /* NULL before CONTEXT_INIT */
    struct loop_source *context_source, *fence_source;
    uint32_t context_events;
    struct ids resources;
    struct syncs syncs;
    struct list fences[VTEST_TIMELINES]; /* oldest first */
    uint64_t timer_ms;                   /* when `timer` is due; UINT64_MAX: not armed */
};

/* Takes own_fd, a connected socket, success or not. 0 or a negative errno. */
MUST_USE int client_create(struct front *front, int own_fd);
/* Does what can be done now. The client may be gone afterwards. */
void client_go_on(struct client *c);
/* Closes the connection and ends the context. NULL is fine; returns NULL. */
struct client *client_destroy(struct client *c);

#endif
