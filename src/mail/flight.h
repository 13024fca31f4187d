/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many bytes a walk may have asked for and not got yet. Found by how long they take: what comes in less than half
 * of the time that is meant for it lets the amount grow, what takes longer than that lets it shrink. So a fast line is
 * full after a few round trips, a slow one isn't filled with seconds of what others would have to wait behind, and no
 * rate has to be known, which a line that isn't full doesn't tell. Where one is known, it is where to begin.
 *
 * Pure: clocks are the caller's. Sizes in bytes, times in milliseconds.
 */
#pragma once

#include <stdint.h>

#define FLIGHT_BYTES_MIN (256u << 10)
#define FLIGHT_BYTES_FIRST (2u << 20)
#define FLIGHT_BYTES_FIRST_MAX (8u << 20) /* … of a line that is known to be fast */
#define FLIGHT_BYTES_MAX (32u << 20)
/* What is meant for it: a server that takes one command at a time is idle for a round trip behind each. */
#define FLIGHT_MS 300u
#define FLIGHT_ROUND_TRIPS 4u

struct flight {
	uint64_t most_bytes;
	uint64_t round_trip_ms; /* the shortest from question to answer; UINT64_MAX = unknown */
};

/* `bytes_per_s`: what the line brought lately, in something else; 0 = unknown. */
void flight_begin(struct flight *flight, uint64_t bytes_per_s);
/* The first octet of an answer came so long after its question. */
void flight_answered(struct flight *flight, uint64_t after_ms);
/* A message of this size is complete, so long after it was asked for. */
void flight_arrived(struct flight *flight, uint64_t bytes, uint64_t after_ms);
