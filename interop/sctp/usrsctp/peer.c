// One end of an association by usrsctp, over UDP in the place of DTLS: file 3 is a socket that is connected. It sends a number
// of bytes on each of two streams at once, and tells the hashes of what has come on them.
//
//	peer <bytes for each stream> <size of a message> <interleave: 0 or 1>
//
// It prints "up <interleaving: 0 or 1>" when the association stands, "stream <id> bytes <n> hash <h>" for each stream once
// <bytes> have come on it, and ends when its standard input does.
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usrsctp.h>

#ifndef SCTP_INTERLEAVING_SUPPORTED
#define SCTP_INTERLEAVING_SUPPORTED 0x00001206
#endif

static int fd = 3;
static uint64_t total, got[4], hash[4];
static volatile int up;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static int output(void *addr, void *buf, size_t n, uint8_t tos, uint8_t df) {
	(void)addr, (void)tos, (void)df;
	return send(fd, buf, n, 0) < 0 ? -1 : 0;
}

static void *input(void *p) {
	static char buf[65536];
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n > 0) usrsctp_conninput(p, buf, n, 0);
	}
	return NULL;
}

static void notified(union sctp_notification *n) {
	if (n->sn_header.sn_type == SCTP_ASSOC_CHANGE && n->sn_assoc_change.sac_state == SCTP_COMM_UP) {
		int interleaving = 0;
		size_t count = n->sn_assoc_change.sac_length - sizeof(struct sctp_assoc_change);
		for (size_t i = 0; i < count; i++)
			if (n->sn_assoc_change.sac_info[i] == SCTP_ASSOC_SUPPORTS_INTERLEAVING) interleaving = 1;
		printf("up %d\n", interleaving);
		up = 1;
	}
	if (n->sn_header.sn_type == SCTP_ASSOC_CHANGE && n->sn_assoc_change.sac_state == SCTP_COMM_LOST) printf("lost\n");
}

static int received(struct socket *s, union sctp_sockstore from, void *data, size_t n, struct sctp_rcvinfo info, int flags, void *arg) {
	(void)s, (void)from, (void)arg;
	if (data == NULL) return 1;
	if (flags & MSG_NOTIFICATION) {
		notified(data);
	} else {
		int id = info.rcv_sid & 3;
		if (got[id] == 0) hash[id] = 0xcbf29ce484222325;
		for (size_t i = 0; i < n; i++) hash[id] = (hash[id] ^ ((uint8_t *)data)[i]) * 0x100000001b3;
		got[id] += n;
		if (got[id] == total) printf("stream %d bytes %llu hash %llx\n", id, (unsigned long long)got[id], (unsigned long long)hash[id]);
	}
	free(data);
	return 1;
}

static void set(struct socket *s, int option, const void *value, socklen_t n, const char *what) {
	if (usrsctp_setsockopt(s, IPPROTO_SCTP, option, value, n) < 0) die(what);
}

int main(int argc, char **argv) {
	if (argc != 4) return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	total = strtoull(argv[1], NULL, 10);
	size_t size = strtoull(argv[2], NULL, 10);
	usrsctp_init(0, output, NULL);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_register_address(&fd);
	struct socket *s = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, received, NULL, 0, NULL);
	if (s == NULL) die("usrsctp_socket");
	int room = 1 << 20;
	usrsctp_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	usrsctp_setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	struct sctp_event event = {.se_assoc_id = SCTP_ALL_ASSOC, .se_on = 1, .se_type = SCTP_ASSOC_CHANGE};
	set(s, SCTP_EVENT, &event, sizeof event, "SCTP_EVENT");
	struct sctp_assoc_value value = {.assoc_value = atoi(argv[3])};
	if (value.assoc_value) {
		int level = 2;
		set(s, SCTP_FRAGMENT_INTERLEAVE, &level, sizeof level, "SCTP_FRAGMENT_INTERLEAVE");
		set(s, SCTP_INTERLEAVING_SUPPORTED, &value, sizeof value, "SCTP_INTERLEAVING_SUPPORTED");
	}
	struct sctp_initmsg streams = {.sinit_num_ostreams = 16, .sinit_max_instreams = 16};
	set(s, SCTP_INITMSG, &streams, sizeof streams, "SCTP_INITMSG");
	struct sctp_assoc_value reset = {.assoc_value = SCTP_ENABLE_RESET_STREAM_REQ | SCTP_ENABLE_CHANGE_ASSOC_REQ};
	set(s, SCTP_ENABLE_STREAM_RESET, &reset, sizeof reset, "SCTP_ENABLE_STREAM_RESET");

	struct sockaddr_conn c = {.sconn_family = AF_CONN, .sconn_port = htons(5000), .sconn_addr = &fd};
	if (usrsctp_bind(s, (struct sockaddr *)&c, sizeof c) < 0) die("usrsctp_bind");
	// An INIT may be waiting in the socket already. usrsctp aborts one for which it has no association, so that it reads only
	// once it has begun its own, and connect may not block until the association stands.
	usrsctp_set_non_blocking(s, 1);
	if (usrsctp_connect(s, (struct sockaddr *)&c, sizeof c) < 0 && errno != EINPROGRESS) die("usrsctp_connect");
	pthread_t thread;
	pthread_create(&thread, NULL, input, &fd);
	while (!up) usleep(200);

	uint8_t *message = malloc(size);
	uint32_t seed[4] = {0, 1, 0, 3};
	for (uint64_t sent = 0; sent < total;) {
		size_t n = total - sent < size ? total - sent : size;
		for (int id = 1; id <= 3; id += 2) {
			for (size_t i = 0; i < n; i++) {
				seed[id] = seed[id] * 1664525 + 1013904223;
				message[i] = seed[id] >> 24;
			}
			struct sctp_sndinfo info = {.snd_sid = id, .snd_ppid = htonl(53)};
			while (usrsctp_sendv(s, message, n, NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO, 0) < 0) {
				if (errno != EAGAIN && errno != EWOULDBLOCK) die("usrsctp_sendv");
				usleep(200); // its buffer is full
			}
		}
		sent += n;
	}
	while (getchar() != EOF) {
	}
	return 0;
}
