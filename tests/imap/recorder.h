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
	bool refuse_bodies;  /* body_begin says no */
	bool in_body;        /* so that a body in several pieces is one event */
	int body_error;      /* body_data answers this */
	uint32_t stop_after; /* imap_parser_stop() in this response, counted from 1; 0 = never */
	uint32_t responses;
	struct imap_parser *parser;
};

extern const struct imap_parser_ops recorder_ops;

void recorder_init(struct recorder *recorder); /* makes the parser, too */
void recorder_fini(struct recorder *recorder);
/* Feeds; at an error the event "error: WHY" follows. Returns what the parser said. */
int recorder_feed(struct recorder *recorder, const char *bytes, size_t length);
