/* One thread for all callers, as selector_loop() of helpers/strategies.py; on Linux, which has epoll(7).
       cc -Wall -Wextra -O2 -o epoll_loop epoll_loop.c && ./epoll_loop 5050 */
#define _GNU_SOURCE /* accept4 */
#include "conversation.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>

struct call { /* what the loop has to keep for each caller */
    int connection;
    uint32_t events; /* what it waits for */
    struct conversation talk;
    char *unsent; /* NULL if all is sent */
    size_t count;
};

static int loop;

static void watch(int how, int descriptor, uint32_t events, struct call *call) {
    struct epoll_event event = {.events = events, .data.ptr = call};
    if (epoll_ctl(loop, how, descriptor, &event) < 0) error("ERROR on epoll_ctl");
}

/* Do what can be done without waiting.  Return the event to wait for now; 0, if the call is over. */
static uint32_t go_on(struct call *call) {
    static char data[SIZE], answers[ROOM];
    const char *text = call->unsent;
    size_t count = call->count;
    if (count == 0) {
        const ssize_t came = read(call->connection, data, sizeof data);
        if (came < 0) return errno == EAGAIN ? EPOLLIN : 0;
        text = answers;
        count = hear(&call->talk, data, (size_t)came, answers);
    }
    if (count > 0) {
        ssize_t sent = write(call->connection, text, count);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent < 0) sent = 0;
        count -= (size_t)sent;
        char *rest = count ? malloc(count) : NULL;
        if (count && rest == NULL) return 0;
        if (count) memcpy(rest, text + sent, count);
        free(call->unsent);
        call->unsent = rest;
        call->count = count;
    }
    if (call->count) return EPOLLOUT; /* the caller does not read, so it is not read from */
    return call->talk.over ? 0 : EPOLLIN;
}

static void attend(struct call *call) {
    const uint32_t events = go_on(call);
    if (events == 0) {
        close(call->connection); /* epoll forgets it by this */
        free(call->talk.rest);
        free(call->unsent);
        free(call);
    } else if (events != call->events) {
        watch(call->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, call->connection, events, call);
        call->events = events;
    }
}

/* Take all calls out of the queue and greet them; is there room for all? */
static int welcome(int listener) {
    for (;;) {
        const int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (connection < 0) {
            if (errno == EAGAIN) return 1;
            if (errno == ECONNABORTED || errno == EINTR) continue;
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return 0;
            error("ERROR on accept");
        }
        struct call *call = calloc(1, sizeof *call);
        if (call == NULL || (call->unsent = strdup(GREETING)) == NULL) error("ERROR on memory for a call");
        call->count = strlen(GREETING);
        call->connection = connection;
        attend(call);
    }
}

int main(int argc, char *argv[]) {
    const int listener = listen_as_told(argc, argv);
    int room = 1;
    if (fcntl(listener, F_SETFL, O_NONBLOCK) < 0) error("ERROR on fcntl");
    if ((loop = epoll_create1(0)) < 0) error("ERROR on epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event ready[256];
        const int count = epoll_wait(loop, ready, 256, room ? -1 : PAUSE);
        if (count < 0 && errno != EINTR) error("ERROR on epoll_wait");
        if (!room) watch(EPOLL_CTL_MOD, listener, EPOLLIN, NULL);
        room = 1;
        for (int n = 0; n < count; n++) {
            if (ready[n].data.ptr != NULL)
                attend(ready[n].data.ptr);
            else
                room = welcome(listener);
        }
        if (!room) watch(EPOLL_CTL_MOD, listener, 0, NULL); /* look away: it would be ready again and again */
    }
}
