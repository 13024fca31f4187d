/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client on a scripted server, with an auth of the tests' own. What happens to each request is written down as
 * text, one word or two an event, so that a test compares a line.
 */
#pragma once

#include "imap/client.h"
#include "imap/pool.h"
#include "src/base/loop.h"
#include "tests/imap/stream_script.h"

#define ASKS_MAX 32u
#define WORLD_PATIENCE_MS 10000u /* no test waits so long */

struct world;

struct ask {
	struct world *world;
	struct imap_request request;
	GString *events; /* "examined 7 3;body 5;fetch 1;restart;ok" */
	bool done;
	int code;
	struct error err;
	uint64_t done_at_ms;
	uint64_t body_bytes;
	int data_code; /* body_data answers this */
	void (*on_event)(struct ask *ask, const char *event);
};

struct world {
	struct loop *loop;
	struct script_server server;
	struct imap_client_config config;
	struct client_tuning tuning;
	struct imap_client *client;
	struct ask asks[ASKS_MAX];
	unsigned asked, answered;
	bool stop, overdue;
};

/* The tests' auth: a state to look at and to set. */
struct fake_auth {
	enum auth_kind kind;
	const char *secret;
	uint32_t generation;
	bool refused; /* fills fail */
	bool slow;    /* they are answered from the loop */
	unsigned fills, accepted, rejected, expired;
	bool spent;
	char text[512]; /* of the last rejection */
};
extern struct fake_auth fake_auth;

void world_init(struct world *w, size_t chunk);
void world_fini(struct world *w); /* asserts that everything went by the script */
/* The client is made at the first ask, from w->config and w->tuning. */
struct ask *world_ask(struct world *w, const char *mailbox, const char *command);
/* `like->ops`: NULL, or those of a request that wants no bodies. */
extern const struct imap_request_ops world_ops_without_bodies;
struct ask *world_ask_with(struct world *w, const struct imap_request *like);
void world_start(struct world *w);
void world_run(struct world *w); /* until all that were asked are answered */
void world_run_ms(struct world *w, unsigned ms);
void world_until_opened(struct world *w, unsigned connections);
void world_until_sent(struct world *w, const char *text);
void assert_events(const struct ask *ask, const char *events);

/* Pieces of scripts */

#define GREET "S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] hello\n"
#define XOAUTH2_LINE "dXNlcj1vbGVuYUBjb250b3NvLmV4YW1wbGUBYXV0aD1CZWFyZXIgRXdUb2tlbi5vZi10aGUuYXBwAQE="
#define FIRST "C: n NAMESPACE\nS: * NAMESPACE ((\"\" \"/\")) NIL NIL\nS: $n OK done\n"
#define SIGN_IN                                                                                                        \
	GREET "C: l AUTHENTICATE XOAUTH2 " XOAUTH2_LINE "\nS: $l OK [CAPABILITY IMAP4rev1 NAMESPACE UIDPLUS] "         \
	      "in\n" FIRST
#define EXAMINE(name, validity)                                                                                        \
	"C: e EXAMINE " name "\nS: * FLAGS (\\Seen)\nS: * 3 EXISTS\nS: * 0 RECENT\nS: * OK [UIDVALIDITY " validity     \
	"] v\nS: * OK [UIDNEXT 10] n\nS: $e OK [READ-ONLY] done\n"
#define INBOX EXAMINE("\"INBOX\"", "7")
#define FETCH_TEXT(n) "UID FETCH " n " (UID BODY.PEEK[])"
#define ASKED(tag, n) "C: " tag " UID FETCH " n " (UID BODY.PEEK[])\n"
#define BODY(n) "S: * 1 FETCH (UID " n " BODY[] {5}\nS-hello\nS:  FLAGS (\\Seen))\n"
#define BODY_EVENTS(n) "body 5;end 5;fetch " n

/* Each test runs with the server's bytes all at once, byte by byte, and in pieces of seven. */
extern const size_t world_chunks[3];

#define FOR_EACH_CUT(w)                                                                                                \
	for (size_t cut_ = 0; cut_ < G_N_ELEMENTS(world_chunks); cut_++)                                               \
		for (bool once_ = world_has_cut(cut_) && (world_init(&(w), world_chunks[cut_]), true); once_;          \
			once_ = (world_fini(&(w)), false))
bool world_has_cut(size_t cut);
/*
 * Runs a program's tests in a process for each cut, all at once: they wait for most of their time. The others are heard
 * of only where they fail. Returns how many failed.
 */
int world_run_cuts(int (*run)(void));
#define NOOP "C: o NOOP\nS: $o OK\n"
