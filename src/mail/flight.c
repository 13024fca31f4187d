/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mail/flight.h"

#include <glib.h>

#include "src/base/banned.h"

#define GROWTH 2u /* octets more for each that came soon: threefold in a round trip */

void flight_begin(struct flight *flight, uint64_t bytes_per_s)
{
	uint64_t meant_bytes = MIN(bytes_per_s, FLIGHT_BYTES_FIRST_MAX * 1000ull) * FLIGHT_MS / 1000;

	*flight = (struct flight){.most_bytes = CLAMP(meant_bytes, FLIGHT_BYTES_FIRST, FLIGHT_BYTES_FIRST_MAX),
		.round_trip_ms = UINT64_MAX};
}

void flight_answered(struct flight *flight, uint64_t after_ms)
{
	flight->round_trip_ms = MIN(flight->round_trip_ms, after_ms);
}

void flight_arrived(struct flight *flight, uint64_t bytes, uint64_t after_ms)
{
	uint64_t round_trip_ms = flight->round_trip_ms == UINT64_MAX ? 0 : flight->round_trip_ms;
	uint64_t meant_ms = FLIGHT_MS + FLIGHT_ROUND_TRIPS * round_trip_ms;

	if (after_ms <= meant_ms / 2)
		flight->most_bytes += GROWTH * MIN(bytes, FLIGHT_BYTES_MAX);
	else if (after_ms > meant_ms)
		/* when as much has come as is under way it is down to what takes the time that is meant */
		flight->most_bytes -= MIN(flight->most_bytes,
			(uint64_t)((double)bytes * (double)(after_ms - meant_ms) / (double)after_ms));
	flight->most_bytes = CLAMP(flight->most_bytes, FLIGHT_BYTES_MIN, FLIGHT_BYTES_MAX);
}
