/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mime/charset.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "src/base/banned.h"

#define GUESS_BYTES_MAX (64u * 1024u) /* of a text, looked at to guess */
#define SURE_SEQUENCES 8u             /* so many valid sequences, and no other byte, are UTF-8 whatever is declared */
#define REPLACEMENT "\xEF\xBF\xBD"

/* Names that mail uses and iconv doesn't know. GMime has more, but keeps each name that it was ever asked for. */
static const char *const aliases[][2] = {
	{"ks_c_5601-1987", "CP949"},
	{"x-sjis", "CP932"},
	{"shift-jis", "CP932"},
	{"x-gbk", "GBK"},
	{"gb2312", "GBK"},
	{"x-cp1251", "CP1251"},
	{"cp-1251", "CP1251"},
	{"win-1251", "CP1251"},
	{"unicode-1-1-utf-7", "UTF-7"},
	{"utf8", "UTF-8"},
};

/* Bodies are often in a superset of what they say, and for a body only the meaning counts, not a name's stability. */
static const char *const supersets[][2] = {
	{"ks_c_5601-1987", "CP949"},
	{"euc-kr", "CP949"},
	{"shift_jis", "CP932"},
	{"gb2312", "GB18030"},
	{"gb_2312-80", "GB18030"},
	{"gbk", "GB18030"},
	{"x-gbk", "GB18030"},
	{"iso-8859-1", "CP1252"},
	{"iso8859-1", "CP1252"},
	{"iso_8859-1", "CP1252"},
	{"latin1", "CP1252"},
	{"x-cp1252", "CP1252"},
	{"iso-8859-9", "CP1254"},
	{"iso-8859-11", "CP874"},
	{"tis-620", "CP874"},
	{"iso-8859-8-i", "ISO-8859-8"},
	{"koi8", "KOI8-U"},
	{"koi8-r", "KOI8-U"},
	{"big5", "BIG5-HKSCS"},
	{"x-mac-cyrillic", "MAC-CYRILLIC"},
	{"iso-2022-jp", "ISO-2022-JP-3"},
};

/* Beginnings of the names that are opened. */
static const char *const families[] = {
	"utf-",
	"us-ascii",
	"ascii",
	"ansi_x3.4",
	"iso-8859-",
	"iso8859-",
	"iso_8859-",
	"iso-2022-jp",
	"iso-2022-kr",
	"windows-",
	"cp",
	"ibm8",
	"koi8-",
	"euc-jp",
	"euc-kr",
	"euc-cn",
	"euc-tw",
	"eucjp",
	"euckr",
	"gb18030",
	"big5",
	"macintosh",
	"mac-cyrillic",
	"maccyrillic",
	"viscii",
	"tcvn",
	"armscii",
	"gbk",
	"shift_jis",
	"sjis",
	"tis-620",
	"hz",
	"ks_c_",
};

static bool is_named(const char *charset)
{
	size_t length = strlen(charset);

	if (!length || length > CHARSET_BYTES_MAX)
		return false;
	for (const char *at = charset; *at; at++) {
		if (!g_ascii_isalnum(*at) && !strchr("-_.:+", *at))
			return false;
	}
	return true;
}

static const char *iconv_name(const char *charset)
{
	if (!is_named(charset))
		return NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
		if (g_ascii_strcasecmp(charset, aliases[i][0]) == 0)
			return aliases[i][1];
	}
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
		if (g_ascii_strncasecmp(charset, families[i], strlen(families[i])) == 0)
			return charset;
	}
	return NULL;
}

static const char *superset_name(const char *charset)
{
	for (size_t i = 0; i < G_N_ELEMENTS(supersets); i++) {
		if (g_ascii_strcasecmp(charset, supersets[i][0]) == 0)
			return supersets[i][1];
	}
	return iconv_name(charset);
}

GIConv charset_open(const char *charset)
{
	const char *name = iconv_name(charset);

	return name ? g_iconv_open("UTF-8", name) : (GIConv)-1;
}

/*
 * glibc's iconv passes on what no character is (seen: UTF-8 of five bytes, out of GB18030 and UTF-8). NULs stay: they
 * are text to whoever asks.
 */
static void keep_valid(GString *out, size_t start, const char *replacement)
{
	const char *end, *at = out->str + start, *stop = out->str + out->len;
	g_autoptr(GString) valid = NULL;

	while (at < stop) {
		bool all = g_utf8_validate(at, stop - at, &end);

		if (all && !valid)
			return;
		if (!valid)
			valid = g_string_new(NULL);
		g_string_append_len(valid, at, end - at);
		if (all)
			break;
		if (*end)
			g_string_append(valid, replacement);
		else
			g_string_append_c(valid, '\0');
		at = end + 1;
	}
	if (!valid)
		return;
	g_string_truncate(out, start);
	g_string_append_len(out, valid->str, (gssize)valid->len);
}

bool charset_convert(const char *bytes, size_t length, const char *charset, const char *replacement, size_t most,
	GString *out, size_t *errors_out)
{
	GIConv converter = charset_open(charset);
	char *from = (char *)bytes;
	gsize left = length;
	size_t errors = 0, start = out->len;

	if (converter == (GIConv)-1)
		return false;
	while (left && out->len <= most) {
		char buffer[4096], *to = buffer;
		gsize room = sizeof(buffer);
		gsize result = g_iconv(converter, &from, &left, &to, &room);
		int cause = errno;

		g_string_append_len(out, buffer, (gssize)(sizeof(buffer) - room));
		if (result != (gsize)-1 || cause == E2BIG)
			continue;
		errors++;
		g_string_append(out, replacement);
		if (cause == EINVAL) /* the end is half a character */
			break;
		from++;
		left--;
	}
	g_iconv_close(converter);
	keep_valid(out, start, replacement);
	if (errors_out)
		*errors_out = errors;
	return true;
}

/*
 * Bytes that say nothing of their charset: of Cyrillic words all are high, western ones have one here and there. Most
 * letters are small ones; these have the upper half of the high bytes in windows-1251 and the lower one in KOI8.
 */
const char *charset_guess(const char *bytes, size_t length)
{
	size_t high = 0, pairs = 0, upper = 0, lower = 0;

	length = MIN(length, GUESS_BYTES_MAX);
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		high += byte >= 0x80;
		pairs += byte >= 0x80 && i + 1 < length && (unsigned char)bytes[i + 1] >= 0x80;
		lower += byte >= 0xC0 && byte < 0xE0;
		upper += byte >= 0xE0;
	}
	if (pairs * 2 < high)
		return "WINDOWS-1252";
	return lower > upper ? "KOI8-U" : "WINDOWS-1251";
}

/* Text of one byte a character that is declared as western, and of which nearly each high byte stands beside another.
 */
static bool is_mislabelled_western(const char *bytes, size_t length)
{
	size_t high = 0, beside = 0;
	unsigned char before = 0;

	length = MIN(length, GUESS_BYTES_MAX);
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		unsigned char after = i + 1 < length ? (unsigned char)bytes[i + 1] : 0;

		high += byte >= 0xC0;
		beside += byte >= 0xC0 && (before >= 0xC0 || after >= 0xC0);
		before = byte;
	}
	return high >= 12 && beside * 10 >= high * 9;
}

/* How many sequences of several bytes the text has, if it is UTF-8; 0 = it isn't, or has none. */
static size_t utf8_sequences(const char *bytes, size_t length)
{
	size_t sequences = 0;
	const char *end;

	/* a NUL is UTF-8, too, and so is a character that a limit has cut in two */
	for (const char *at = bytes, *stop = bytes + length; at < stop; at = end + 1) {
		if (g_utf8_validate_len(at, (gsize)(stop - at), &end))
			break;
		if (*end != '\0' && stop - end > 3)
			return 0;
	}
	for (size_t i = 0; i < length; i++)
		sequences += ((unsigned char)bytes[i] & 0xC0) == 0xC0;
	return sequences;
}

static bool has_high(const char *bytes, size_t length)
{
	uint64_t word, all = 0;
	size_t i = 0;

	/* most text has none, and is looked at to its end */
	for (; length - i >= sizeof(word) && !(all & 0x8080808080808080u); i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		all |= word;
	}
	for (; i < length; i++)
		all |= (unsigned char)bytes[i];
	return (all & 0x8080808080808080u) != 0;
}

/* What is right already needn't be converted, which costs more than all else that is done to a text. */
static size_t append_utf8(const char *bytes, size_t length, size_t most, GString *out)
{
	size_t errors = 0;

	if (!has_high(bytes, length) || g_utf8_validate_len(bytes, length, NULL))
		g_string_append_len(out, bytes, (gssize)length);
	else
		charset_convert(bytes, length, "UTF-8", REPLACEMENT, most, out, &errors);
	return errors;
}

static bool is_western(const char *name)
{
	return g_ascii_strcasecmp(name, "CP1252") == 0 || g_ascii_strcasecmp(name, "windows-1252") == 0 ||
	       g_ascii_strcasecmp(name, "iso-8859-15") == 0;
}

static bool is_ascii_name(const char *name)
{
	return g_ascii_strcasecmp(name, "us-ascii") == 0 || g_ascii_strncasecmp(name, "ascii", 5) == 0 ||
	       g_ascii_strncasecmp(name, "ansi_x3.4", 9) == 0 || g_ascii_strcasecmp(name, "UTF-8") == 0;
}

/* Nothing is declared, or nothing that could be true of 8-bit text. */
static void append_unlabelled(const char *bytes, size_t length, size_t most, GString *out)
{
	size_t start = out->len, errors = 0;

	if (memchr(bytes, 0x1B, length) && !has_high(bytes, length) && memmem(bytes, length, "\x1B$", 2) &&
		charset_convert(bytes, length, "ISO-2022-JP", REPLACEMENT, most, out, &errors) && !errors)
		return;
	g_string_truncate(out, start);
	if (!has_high(bytes, length) || utf8_sequences(bytes, length))
		append_utf8(bytes, length, most, out);
	else
		charset_convert(bytes, length, charset_guess(bytes, length), REPLACEMENT, most, out, NULL);
}

/* One byte a character, the lower half ASCII. */
static bool is_half_ascii(const char *name)
{
	static const char *const beginnings[] = {"iso-8859-", "iso8859-", "iso_8859-", "windows-125", "CP125", "koi8-"};

	for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++) {
		if (g_ascii_strncasecmp(name, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	}
	return false;
}

void charset_append(const char *bytes, size_t length, const char *charset, size_t most, GString *out)
{
	const char *name = charset && *charset ? superset_name(charset) : NULL;
	size_t start = out->len, errors = 0, sequences;

	if (!name || is_ascii_name(name)) {
		/* of declared UTF-8 a broken sequence here and there is more likely than another charset */
		if (name && g_ascii_strcasecmp(name, "UTF-8") == 0) {
			errors = append_utf8(bytes, length, most, out);
			if (errors * 8 <= out->len - start)
				return;
			g_string_truncate(out, start);
		}
		append_unlabelled(bytes, length, most, out);
		return;
	}
	if (is_half_ascii(name) && !has_high(bytes, length)) {
		g_string_append_len(out, bytes, (gssize)length);
		return;
	}
	sequences = utf8_sequences(bytes, length);
	if (sequences >= (is_western(name) ? 1u : SURE_SEQUENCES)) {
		append_utf8(bytes, length, most, out);
		return;
	}
	if (is_western(name) && is_mislabelled_western(bytes, length))
		name = charset_guess(bytes, length);
	if (!charset_convert(bytes, length, name, REPLACEMENT, most, out, &errors)) {
		append_unlabelled(bytes, length, most, out);
		return;
	}
	/* mostly wrong: what it is called isn't what it is */
	if (errors * 4 > length) {
		g_string_truncate(out, start);
		append_unlabelled(bytes, length, most, out);
	}
}
