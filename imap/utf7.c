/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Modified UTF-7 (RFC 3501 5.1.3). Decoding accepts only what encoding would write, so that two
 * raw names never decode to one text: anything else is the caller's to show raw. The exception is
 * control characters, which Exchange sends as they are.
 */
#include "imap/grammar.h"

#include <string.h>

#include "src/base/banned.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == ',' ? 63 : -1;
}

static bool is_direct(gunichar c)
{
	return c >= 0x20 && c <= 0x7e;
}

/* One UTF-16 unit more. `*high` is a high surrogate that waits for its other half, 0 = none. */
static bool unit_add(GString *out, uint16_t unit, uint16_t *high)
{
	bool is_high = unit >= 0xd800 && unit <= 0xdbff, is_low = unit >= 0xdc00 && unit <= 0xdfff;

	if (is_low != (*high != 0))
		return false;
	if (is_high) {
		*high = unit;
		return true;
	}
	if (is_low)
		g_string_append_unichar(out, 0x10000u + ((gunichar)(*high - 0xd800u) << 10) + (unit - 0xdc00u));
	else if (unit == 0 || is_direct(unit))
		return false;
	else
		g_string_append_unichar(out, unit);
	*high = 0;
	return true;
}

/* What stands between '&' and '-'; returns the '-', or NULL. */
static const char *run_decode(GString *out, const char *at, const char *end)
{
	uint32_t bits = 0;
	unsigned bit_count = 0;
	uint16_t high = 0;

	for (; at < end && *at != '-'; at++) {
		int value = base64_value(*at);

		if (value < 0)
			return NULL;
		bits = bits << 6 | (uint32_t)value;
		bit_count += 6;
		if (bit_count >= 16) {
			bit_count -= 16;
			if (!unit_add(out, (uint16_t)(bits >> bit_count), &high))
				return NULL;
			bits &= (1u << bit_count) - 1;
		}
	}
	/* Padding is zero bits, fewer than a character of base64. */
	return at < end && !high && bit_count < 6 && bits == 0 ? at : NULL;
}

char *imap_utf7_decode(const char *raw, size_t length)
{
	const char *at = raw, *end = raw + length, *run_end = NULL;
	g_autoptr(GString) out = g_string_sized_new(length);

	while (at < end) {
		if (*at == '\0' || (*at & 0x80))
			return NULL;
		if (*at != '&') {
			g_string_append_c(out, *at++);
			continue;
		}
		if (at == run_end) /* "&…-&…-" should have been one run */
			return NULL;
		if (++at < end && *at == '-') {
			g_string_append_c(out, '&');
			at++;
			continue;
		}
		at = run_decode(out, at, end);
		if (!at)
			return NULL;
		run_end = ++at;
		/* "&-" after a run is an ampersand, not another run. */
		if (end - at >= 2 && at[0] == '&' && at[1] == '-')
			run_end = NULL;
	}
	return g_string_free(g_steal_pointer(&out), FALSE);
}

static void unit_encode(GString *out, uint32_t *bits, unsigned *bit_count, uint16_t unit)
{
	*bits = *bits << 16 | unit;
	*bit_count += 16;
	while (*bit_count >= 6) {
		*bit_count -= 6;
		g_string_append_c(out, base64[*bits >> *bit_count & 63]);
	}
	*bits &= (1u << *bit_count) - 1;
}

static void run_encode(GString *out, const char **at)
{
	uint32_t bits = 0;
	unsigned bit_count = 0;

	g_string_append_c(out, '&');
	for (gunichar c; **at && !is_direct(c = g_utf8_get_char(*at)); *at = g_utf8_next_char(*at)) {
		if (c < 0x10000) {
			unit_encode(out, &bits, &bit_count, (uint16_t)c);
			continue;
		}
		unit_encode(out, &bits, &bit_count, (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
		unit_encode(out, &bits, &bit_count, (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff)));
	}
	if (bit_count > 0)
		g_string_append_c(out, base64[bits << (6 - bit_count) & 63]);
	g_string_append_c(out, '-');
}

char *imap_utf7_encode(const char *utf8)
{
	g_autoptr(GString) out = NULL;

	if (!g_utf8_validate(utf8, -1, NULL))
		return NULL;
	out = g_string_sized_new(strlen(utf8) + 16);
	while (*utf8) {
		if (*utf8 == '&') {
			g_string_append(out, "&-");
			utf8++;
		} else if (is_direct((gunichar)(unsigned char)*utf8)) {
			g_string_append_c(out, *utf8++);
		} else {
			run_encode(out, &utf8);
		}
	}
	return g_string_free(g_steal_pointer(&out), FALSE);
}
