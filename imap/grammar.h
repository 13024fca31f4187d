/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IMAP grammar: bytes from a server become responses. No I/O, no policy, no state of a session.
 *
 * RFC 3501 and 9051 (responses, literals, literal8), 4731 (ESEARCH), 7162 (MODSEQ, VANISHED),
 * 5161 (ENABLED), 2971 (ID), 2342 (NAMESPACE), 5258/5819 (LIST, STATUS), 8474 (EMAILID),
 * X-GM-EXT-1. The parser is incremental: feed it whatever arrived, in any cuts, and it calls back
 * once for each complete response. Message text comes only as a literal's octets: nothing inside
 * a literal is ever read as protocol.
 *
 * Hostile input: every buffer has a limit (below). Breaking one, or the grammar, ends the parser
 * with ERR_PROTOCOL for good; the connection must be dropped. Lenience is for what real servers
 * send (docs name each quirk's transcript): items in any order, unknown responses and items,
 * status lines without a code, response codes without "* OK", malformed BODYSTRUCTURE, and a
 * line that is no response at all (IMAP_OTHER). A lone LF ends a line as CRLF does, but never inside
 * a quoted string or inside parentheses.
 *
 * Memory: a response lives in the parser until its callback returns; copy what you keep.
 * Threads: one parser belongs to one thread at a time.
 */
#pragma once

#include "src/base/error.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAP_LINE_MAX (1024u * 1024u) /* a response without its literals' octets */
/*
 * Two kinds of response grow with the folder. SEARCH: LIMIT_MESSAGES numbers, read as they come, so that the
 * line itself is never in memory. ESEARCH and VANISHED: half a million scattered ranges of UIDs in a line.
 */
#define IMAP_SEARCH_LINE_MAX (128u * 1024u * 1024u)
#define IMAP_SET_LINE_MAX (8u * 1024u * 1024u)
/*
 * A literal that isn't streamed. Of a FETCH's literals (header fields, ENVELOPE) only so much is kept:
 * whoever sends a mail decides their length, and that must not end the session. Elsewhere more is an error.
 */
#define IMAP_LITERAL_MEMORY_MAX (256u * 1024u)
/* A whole response in memory: nodes, strings, literals; not the numbers of SEARCH, the sets of ESEARCH and VANISHED. */
#define IMAP_RESPONSE_MEMORY_MAX (4u * 1024u * 1024u)
#define IMAP_NESTING_MAX 64u   /* parentheses (BODYSTRUCTURE of nested messages) */
#define IMAP_NODES_MAX 100000u /* values of one response (SEARCH's numbers aren't values) */

/* A set of numbers as sorted, disjoint, inclusive ranges (RFC 3501 seq-set, "*" not allowed). */
struct imap_range {
	uint32_t first, last;
};
struct imap_set {
	GArray *ranges; /* struct imap_range */
};
void imap_set_init(struct imap_set *set);
void imap_set_fini(struct imap_set *set);
void imap_set_clear(struct imap_set *set);
void imap_set_add(struct imap_set *set, uint32_t first, uint32_t last); /* any order; merges */
/* All at once: numbers in falling order cost no more than in rising order. For SEARCH. */
void imap_set_add_numbers(struct imap_set *set, const uint32_t *numbers, size_t count);
bool imap_set_has(const struct imap_set *set, uint32_t number);
uint64_t imap_set_count(const struct imap_set *set);
/*
 * `set` becomes what "1:4,7" says; empty and false when that isn't a set (0, "*", overflow, garbage, nothing).
 * At most IMAP_SET_LINE_MAX/2 ranges.
 */
bool imap_set_parse(struct imap_set *set, const char *text, size_t length);
/*
 * Formats ranges [*at, …) as far as they fit into `bytes_max`, advances *at. Returns the number
 * of bytes appended to `out`. Used to cut commands to the server's line limit.
 */
size_t imap_set_format(const struct imap_set *set, size_t *at, size_t bytes_max, GString *out);

enum imap_value_type { IMAP_NIL, IMAP_ATOM, IMAP_STRING, IMAP_LIST, IMAP_STREAMED };

/* One value of a response. Strings carry their length (they may hold NUL) and end in a NUL too. */
struct imap_value {
	enum imap_value_type type;
	uint32_t length;                /* bytes of an atom or string; values of a list */
	uint64_t streamed_bytes;        /* the announced size of IMAP_STREAMED, or of a STRING that was cut; else 0 */
	const char *text;               /* atom, string; "" otherwise, never NULL */
	const struct imap_value *items; /* list */
};

enum imap_status { IMAP_OK, IMAP_NO, IMAP_BAD, IMAP_BYE, IMAP_PREAUTH };

enum imap_response_type {
	IMAP_TAGGED,          /* status, code, text, tag */
	IMAP_UNTAGGED,        /* "* OK|NO|BAD|BYE|PREAUTH": status, code, text */
	IMAP_CONTINUATION,    /* "+ text" */
	IMAP_CAPABILITY,      /* values: the words (of the response; a code [CAPABILITY …] stays a code) */
	IMAP_ENABLED,         /* values: the words */
	IMAP_LIST_RESPONSE,   /* LIST, LSUB, XLIST: list */
	IMAP_STATUS_RESPONSE, /* status_response */
	IMAP_SEARCH,          /* numbers, modseq (0 = none) */
	IMAP_ESEARCH,         /* esearch */
	IMAP_FLAGS,           /* values: the flags */
	IMAP_EXISTS,          /* number */
	IMAP_RECENT,          /* number */
	IMAP_EXPUNGE,         /* number (a sequence number) */
	IMAP_VANISHED,        /* vanished */
	IMAP_FETCH,           /* fetch (FETCH or UIDFETCH) */
	IMAP_NAMESPACE,       /* values: personal, other, shared, each a list or NIL */
	IMAP_ID,              /* values: name, value, name, value …; a value may be NIL */
	IMAP_QUOTA,           /* values: root name, list of resource usage limit … */
	IMAP_QUOTAROOT,       /* values */
	IMAP_OTHER,           /* a line that none of the above explains: text */
};

/* Which data items a FETCH response held. */
enum imap_fetch_items {
	IMAP_FETCH_UID = 1 << 0,
	IMAP_FETCH_FLAGS = 1 << 1,
	IMAP_FETCH_INTERNALDATE = 1 << 2,
	IMAP_FETCH_SIZE = 1 << 3,
	IMAP_FETCH_MODSEQ = 1 << 4,
	IMAP_FETCH_EMAILID = 1 << 5, /* EMAILID (atom), or X-GM-MSGID as decimal text */
	IMAP_FETCH_BODY = 1 << 6,    /* BODY[] */
	IMAP_FETCH_HEADER = 1 << 7,  /* BODY[HEADER] or BODY[HEADER.FIELDS …] */
	IMAP_FETCH_ENVELOPE = 1 << 8,
	IMAP_FETCH_BODYSTRUCTURE = 1 << 9,
	IMAP_FETCH_GM_MSGID = 1 << 10, /* with EMAILID: it is X-GM-MSGID's */
};

struct imap_fetch {
	uint32_t sequence; /* 0: UIDFETCH (RFC 9586), which has none */
	uint32_t items;    /* enum imap_fetch_items seen in this response */
	uint32_t uid;
	uint64_t size_bytes; /* RFC822.SIZE */
	uint64_t modseq;
	int64_t internal_date; /* seconds since 1970, UTC; INT64_MIN when unreadable */
	/* Those below are NULL when `items` lacks their bit. */
	const struct imap_value *flags; /* a list of words, each with a text */
	const struct imap_value *emailid;
	const struct imap_value *body;     /* BODY[]: STRING (if quoted), STREAMED (a literal), or NIL */
	const struct imap_value *header;   /* STRING (cut at IMAP_LITERAL_MEMORY_MAX) or NIL */
	const struct imap_value *envelope; /* a list, or NIL */
	const struct imap_value *bodystructure;
};

/* Attributes of LIST that matter to us; all others are ignored. */
enum imap_list_attributes {
	IMAP_LIST_NOSELECT = 1 << 0, /* \Noselect or \NonExistent */
	IMAP_LIST_HAS_CHILDREN = 1 << 1,
	IMAP_LIST_HAS_NO_CHILDREN = 1 << 2,
	IMAP_LIST_NOINFERIORS = 1 << 3,
	IMAP_LIST_ALL = 1 << 4, /* RFC 6154 special uses */
	IMAP_LIST_ARCHIVE = 1 << 5,
	IMAP_LIST_DRAFTS = 1 << 6,
	IMAP_LIST_FLAGGED = 1 << 7,
	IMAP_LIST_JUNK = 1 << 8,
	IMAP_LIST_SENT = 1 << 9,
	IMAP_LIST_TRASH = 1 << 10,
	IMAP_LIST_IMPORTANT = 1 << 11,
	IMAP_LIST_NONEXISTENT = 1 << 12,
};

struct imap_list {
	uint32_t attributes;
	char delimiter;   /* 0 = NIL: flat */
	const char *name; /* raw bytes as the server wrote them, in its own encoding */
	uint32_t name_length;
};

struct imap_status_response {
	const char *name;
	uint32_t name_length;
	uint32_t has; /* 1 << enum below */
	uint64_t messages, uidnext, uidvalidity, unseen, highestmodseq, size_bytes;
	const struct imap_value *mailboxid; /* NULL = none */
};
enum imap_status_items {
	IMAP_STATUS_MESSAGES = 1 << 0,
	IMAP_STATUS_UIDNEXT = 1 << 1,
	IMAP_STATUS_UIDVALIDITY = 1 << 2,
	IMAP_STATUS_UNSEEN = 1 << 3,
	IMAP_STATUS_HIGHESTMODSEQ = 1 << 4,
	IMAP_STATUS_SIZE = 1 << 5,
};

struct imap_response {
	enum imap_response_type type;
	enum imap_status status;
	const char *tag;                      /* IMAP_TAGGED */
	const char *code;                     /* response code's name in upper case ("UIDVALIDITY"), NULL = none */
	const struct imap_value *code_values; /* the code's arguments, code_values_count of them */
	uint32_t code_values_count;
	const char *text; /* human text of a status or continuation; NUL-terminated, never NULL */
	uint32_t text_length;
	const struct imap_value *values; /* see the type */
	uint32_t values_count;
	uint32_t number;
	uint64_t modseq;
	const uint32_t *numbers; /* SEARCH */
	uint32_t numbers_count;
	struct imap_fetch fetch;
	struct imap_list list;
	struct imap_status_response status_response;
	struct {
		const char *tag; /* correlator, NULL = none */
		bool uid;
		bool has_all;
		const struct imap_set *all;
		uint32_t min, max, count;
		uint64_t modseq;
	} esearch;
	struct {
		bool earlier;
		const struct imap_set *uids;
	} vanished;
};

/* What the parser knows of a FETCH when the literal of its BODY[] begins. */
struct imap_literal {
	uint32_t sequence;
	uint32_t uid;        /* 0: the server will say it later in the same response */
	uint64_t size_bytes; /* the truth about the body's size, before its first octet */
};

struct imap_parser_ops {
	/*
	 * The literal of a FETCH's BODY[] begins. True: its octets go to body_data (value type
	 * IMAP_STREAMED in the response), whatever its size. False: it is skipped: its octets go
	 * nowhere, the value is IMAP_STREAMED all the same. Only BODY[] literals come here; a
	 * BODY[] sent as a quoted string arrives in the response as IMAP_STRING.
	 */
	bool (*body_begin)(void *ctx, const struct imap_literal *literal);
	/* The next octets. Nonzero ends the parser with that code. */
	int (*body_data)(void *ctx, const char *bytes, size_t length);
	/* All octets of the literal have arrived (the response itself ends later). */
	void (*body_end)(void *ctx);
	/* A complete response. May call imap_parser_stop(), may not free the parser. */
	void (*response)(void *ctx, const struct imap_response *response);
};

struct imap_parser;

struct imap_parser *imap_parser_new(const struct imap_parser_ops *ops, void *ctx);
void imap_parser_free(struct imap_parser *parser); /* NULL is fine */
/*
 * Takes all `length` bytes, unless stopped. Returns 0, or ERR_PROTOCOL (limit or grammar), or
 * what body_data returned; after an error every further call returns the same.
 */
int imap_parser_feed(struct imap_parser *parser, const char *bytes, size_t length, struct error *err);
/*
 * From a callback: stop right after this response. imap_parser_feed() then returns 0 and
 * imap_parser_rest() gives what it has not taken (STARTTLS, COMPRESS: the stream changes here).
 * The next feed goes on normally.
 */
void imap_parser_stop(struct imap_parser *parser);
size_t imap_parser_rest(const struct imap_parser *parser); /* bytes of the last feed not taken */
/* True while inside a response: EOF now would cut it. */
bool imap_parser_mid_response(const struct imap_parser *parser);

/* Helpers on values. Atoms and flags compare ASCII case-insensitively. */
bool imap_value_is(const struct imap_value *value, const char *atom);
/* Decimal, up to 2^63 - 1 (RFC 9051 number64); false for anything else. */
bool imap_value_number(const struct imap_value *value, uint64_t *number_out);

/*
 * Appends `text` to `out` as a quoted string. False, and nothing appended, where the grammar has no
 * quoted string for it (NUL, CR, LF, 8-bit): that takes a literal.
 */
bool imap_quote(GString *out, const char *text, size_t length);

/*
 * Modified UTF-7 (RFC 3501 5.1.3) as UTF-8, which may hold any code point but NUL; g_free() it. NULL when `raw`
 * isn't what encoding would write (but control characters may stand for themselves): the caller decides what then.
 */
char *imap_utf7_decode(const char *raw, size_t length);
/* NULL when `utf8` isn't valid UTF-8. */
char *imap_utf7_encode(const char *utf8);

/* "23-Nov-2026 09:15:00 +0200" (RFC 3501 date-time) as seconds since 1970; false when it isn't one. */
bool imap_date_parse(const char *text, size_t length, int64_t *seconds_out);
