/* The numbers of a server's life: a line for people, a JSON file for programs. */
#ifndef CORDON_SERVER_RENDER_STATS_H
#define CORDON_SERVER_RENDER_STATS_H

struct contexts;

void stats_log(const struct contexts *c, const char *sandbox_level);
/* Replaces the file in one step; a reader never sees half of it. Failure is logged. */
void stats_write(const struct contexts *c, const char *sandbox_level, const char *path);

#endif
