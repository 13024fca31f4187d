/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes what the grammar says as text, one line an event, in the form that README.md of the
 * transcripts describes. Shared by the unit tests, the transcripts and the fuzz target: two ways
 * of cutting the same bytes must give the same text.
 */
#pragma once

#include "imap/grammar.h"

struct recorder {
	GString *events;
	struct recorder_script {
		bool refuse_bodies;  /* body_begin says no */
		int body_error;      /* body_data answers this */
		uint32_t stop_after; /* imap_parser_stop() in this response, counted from 1; 0 = never */
	} script;
	bool in_body; /* so that a body in several pieces is one event */
	bool stopped;
	uint32_t responses;
	size_t taken; /* octets that the parser took */
	struct imap_parser *parser;
};

extern const struct imap_parser_ops recorder_ops;

void recorder_init(struct recorder *recorder, const struct recorder_script *script); /* makes the parser, too */
void recorder_fini(struct recorder *recorder);
/* Feeds; at an error the event "error: WHY" follows, after a stop "stop at=OCTETS". Returns what the parser said. */
int recorder_feed(struct recorder *recorder, const char *bytes, size_t length);

/*
 * The events of `bytes` fed as [0, first) and then in pieces of `piece` octets (0 = all at once), and "unfinished"
 * when a response is under way at the end. NULL script = nothing special. g_free() the text.
 */
char *recorder_play(const struct recorder_script *script, const char *bytes, size_t length, size_t first, size_t piece);
/*
 * The events of the whole, after checking (g_assert) that other cuts give the same: byte by byte, in two at every
 * point, in pieces of odd sizes. Long inputs are cut at fewer points.
 */
char *recorder_play_all_cuts(const struct recorder_script *script, const char *bytes, size_t length);
