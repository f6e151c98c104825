/* One caller after the other, as one_at_a_time() of helpers/strategies.py.
       cc -Wall -Wextra -O2 -o one_at_a_time one_at_a_time.c && ./one_at_a_time 5050 */
#define _POSIX_C_SOURCE 200809L
#include "conversation.h"
#include <errno.h>
#include <poll.h>

static int send_all(int connection, const char *data, size_t size) {
    while (size > 0) {
        const ssize_t sent = write(connection, data, size); /* it may take part of them */
        if (sent < 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* Serve one caller to the end of the call; a reset ends this call alone. */
static void talk_with(int connection) {
    static char data[SIZE], answers[ROOM];
    struct conversation talk = {0};
    int problem = send_all(connection, GREETING, strlen(GREETING));
    while (!talk.over && !problem) {
        const ssize_t count = read(connection, data, sizeof data);
        problem = count < 0 || send_all(connection, answers, hear(&talk, data, (size_t)count, answers));
    }
    free(talk.rest);
}

int main(int argc, char *argv[]) {
    const int listener = listen_as_told(argc, argv);
    for (;;) {
        const int connection = accept(listener, NULL, NULL);
        if (connection >= 0) {
            talk_with(connection);
            close(connection);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            poll(NULL, 0, PAUSE); /* no room for a call: it waits in the queue */
        } else if (errno != ECONNABORTED && errno != EINTR) {
            error("ERROR on accept");
        }
    }
}
