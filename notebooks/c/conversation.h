/* What the C servers share: the protocol of helpers/strategies.py, with no socket in it, and how they begin. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "hello, and your lines?\n"
#define LIMIT 4096                    /* bytes of a line, without its newline */
#define SIZE 4096                     /* bytes that are read at once, at most */
#define ROOM (LIMIT + SIZE + 22 * SIZE) /* for the answers to them: a number, a space, a newline more for each line */
#define PAUSE 50                      /* milliseconds until the next look, where there was no room for a call */

struct conversation {
    long number; /* of lines answered */
    int over;    /* nothing more is to be said: send what is unsent, and hang up */
    char *rest;  /* what has come of the next line, NULL if nothing has */
    size_t count;
};

/* Take what has come, cut anywhere (no bytes: the end of the stream); write the answers and return their length. */
static size_t hear(struct conversation *talk, const char *data, size_t size, char *answers) {
    size_t said = 0;
    if (size == 0) talk->over = 1;
    while (size > 0 && !talk->over) {
        const char *newline = memchr(data, '\n', size);
        const size_t part = newline ? (size_t)(newline - data) : size;
        char *line = talk->count + part > LIMIT ? NULL : realloc(talk->rest, talk->count + part + 1);
        if (line == NULL) { /* too long, or no memory for it */
            talk->over = 1;
            break;
        }
        memcpy(line + talk->count, data, part);
        talk->rest = line;
        talk->count += part;
        if (newline == NULL) break;
        data += part + 1;
        size -= part + 1;

        size_t length = talk->count;
        if (length > 0 && line[length - 1] == '\r') length--;
        if (length == 4 && memcmp(line, "quit", 4) == 0) {
            said += (size_t)sprintf(answers + said, "bye\n");
            talk->over = 1;
        } else {
            said += (size_t)sprintf(answers + said, "%ld ", ++talk->number);
            memcpy(answers + said, line, length);
            said += length;
            answers[said++] = '\n';
        }
        talk->count = 0;
    }
    if (talk->count == 0 || talk->over) { /* who is silent takes up no more memory than this struct */
        free(talk->rest);
        talk->rest = NULL;
        talk->count = 0;
    }
    return said;
}

static void error(const char *message) {
    perror(message);
    exit(1);
}

static int number(const char *text, int most) {
    char *rest;
    const long value = strtol(text, &rest, 10);
    if (rest == text || *rest != '\0' || value < 0 || value > most) {
        fprintf(stderr, "a number from 0 to %d, not \"%s\"\n", most, text);
        exit(1);
    }
    return (int)value;
}

/* A listener on this machine's own address, as the command line says: port (0: the system chooses), backlog. */
static int listen_as_told(int argc, char *argv[]) {
    if (argc > 3) {
        fprintf(stderr, "usage: %s [port [backlog]]\n", argv[0]);
        exit(1);
    }
    signal(SIGPIPE, SIG_IGN); /* writing to a caller who is gone gives an error, not a killed server */
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) error("ERROR opening the listener");
    const int on = 1; /* as Python's create_server: a call that stood on this port a minute ago does no harm */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);

    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)(argc > 1 ? number(argv[1], 65535) : 0));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (bind(listener, (struct sockaddr *)&address, size) < 0) error("ERROR on bind");
    if (listen(listener, argc > 2 ? number(argv[2], 65535) : 128) < 0) error("ERROR on listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0) error("ERROR on getsockname");
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}
