/* A server that takes one call: the article's program, whole again and written anew, call by call in its order.
   "restored" marks what the article's page has lost, "differs" where we do otherwise, and why.
       cc -Wall -Wextra -o server server.c && ./server 5050        (0: the system chooses a free port) */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h> /* restored: read, write and close are declared here */

static void error(const char *message) { /* restored: the body; perror adds the system's reason, from errno */
    perror(message);
    exit(1);
}

int main(int argc, char *argv[]) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s port\n", argv[0]); /* differs: no perror, for no call has failed */
        return 1;
    }
    char *rest;
    const long port = strtol(argv[1], &rest, 10); /* differs: atoi takes "no number" for 0 */
    if (rest == argv[1] || *rest != '\0' || port < 0 || port > 65535) {
        fprintf(stderr, "the port must be a number from 0 to 65535, not \"%s\"\n", argv[1]);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN); /* differs: writing to a caller who is gone gives an error, not a killed server */

    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) error("ERROR opening the listener");

    struct sockaddr_in address = {0}; /* differs: all zero by its initialiser; bzero is obsolete */
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr); /* differs: this machine only; INADDR_ANY is every interface */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) /* restored: sizeof */
        error("ERROR on bind");
    if (listen(listener, 5) < 0) /* restored: the whole call */
        error("ERROR on listen");

    socklen_t size = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0) error("ERROR on getsockname");
    printf("listening on port %d\n", ntohs(address.sin_port)); /* differs: says where; with 0 nobody knew */
    fflush(stdout);                                            /* at once, through a pipe too */

    struct sockaddr_in caller;
    socklen_t caller_size = sizeof caller;
    const int transfer = accept(listener, (struct sockaddr *)&caller, &caller_size); /* restored: &caller_size */
    if (transfer < 0) error("ERROR on accept");

    char buffer[256];
    const ssize_t count = read(transfer, buffer, sizeof buffer - 1); /* what is there by now, 255 bytes at most */
    if (count < 0) error("ERROR reading");
    buffer[count] = '\0'; /* restored: the zero between the quotes */
    if (count == 0)       /* differs: 0 is no empty message but the end: the caller has hung up */
        printf("The caller hung up without a message\n");
    else
        printf("Here is the message: %s\n", buffer);

    const char *reply = "I got your message";
    if (write(transfer, reply, strlen(reply)) < 0) /* it may take less of a long reply; of 18 bytes it takes all */
        error("ERROR writing");

    close(transfer); /* restored: both closes */
    close(listener);
    return 0;
}
