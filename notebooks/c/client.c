/* A client that makes one call: the other side of server.c, in the same style.
       cc -Wall -Wextra -o client client.c && ./client 127.0.0.1 5050 "Good morning" */
#define _POSIX_C_SOURCE 200809L
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void error(const char *message) {
    perror(message);
    exit(1);
}

int main(int argc, char *argv[]) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s host port [message]\n", argv[0]);
        return 1;
    }
    char *rest;
    const long port = strtol(argv[2], &rest, 10);
    if (rest == argv[2] || *rest != '\0' || port < 1 || port > 65535) {
        fprintf(stderr, "the port must be a number from 1 to 65535, not \"%s\"\n", argv[2]);
        return 1;
    }
    const char *message = argc == 4 ? argv[3] : "hello";
    signal(SIGPIPE, SIG_IGN); /* writing to a server that is gone gives an error, not a killed client */

    struct addrinfo hints = {0}, *found; /* from a name, or from 127.0.0.1, to an address */
    hints.ai_family = AF_INET;           /* IPv4, as the server */
    hints.ai_socktype = SOCK_STREAM;
    const int problem = getaddrinfo(argv[1], NULL, &hints, &found);
    if (problem != 0) {
        fprintf(stderr, "no address for \"%s\": %s\n", argv[1], gai_strerror(problem));
        return 1;
    }
    struct sockaddr_in address;
    memcpy(&address, found->ai_addr, sizeof address);
    address.sin_port = htons((unsigned short)port); /* the bytes of a port travel highest first */
    freeaddrinfo(found);

    const int client = socket(AF_INET, SOCK_STREAM, 0); /* one socket: the caller needs no other */
    if (client < 0) error("ERROR opening the socket");
    if (connect(client, (struct sockaddr *)&address, sizeof address) < 0) error("ERROR connecting");

    if (write(client, message, strlen(message)) < 0) error("ERROR writing");

    char buffer[256];
    const ssize_t count = read(client, buffer, sizeof buffer - 1);
    if (count < 0) error("ERROR reading");
    buffer[count] = '\0'; /* only `count` bytes are the reply; here the text ends */
    if (count == 0)
        printf("The server hung up without a reply\n");
    else
        printf("%s\n", buffer);

    close(client);
    return 0;
}
