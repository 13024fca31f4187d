/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INTERNALDATE (RFC 3501 date-time). No strptime: it asks the locale for the names of months. */
#include "imap/grammar.h"

#include "src/base/banned.h"

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years begin in March, so that leap days end
 * them. */
static int64_t days_from_civil(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int days_of_month(int year, int month)
{
	static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

static bool digits(const char *at, int count, int *number_out)
{
	int number = 0;

	for (int i = 0; i < count; i++) {
		if (!g_ascii_isdigit(at[i]))
			return false;
		number = number * 10 + (at[i] - '0');
	}
	*number_out = number;
	return true;
}

static int month_of(const char *at)
{
	for (int i = 0; i < 12; i++)
		if (g_ascii_strncasecmp(at, months[i], 3) == 0)
			return i + 1;
	return 0;
}

/* "Nov-2026 09:15:00 +0200": of one length, whatever the day looks like. */
#define AFTER_DAY_BYTES (sizeof("Nov-2026 09:15:00 +0200") - 1)

bool imap_date_parse(const char *text, size_t length, int64_t *seconds_out)
{
	int day, month, year, hour, minute, second, zone_hour, zone_minute;
	int64_t zone;
	size_t day_bytes;

	/* " 3-", "03-", "23-" by the RFC, "3-" by some servers. */
	if (length != AFTER_DAY_BYTES + 3 && length != AFTER_DAY_BYTES + 2)
		return false;
	day_bytes = length - AFTER_DAY_BYTES - 1;
	if (day_bytes == 2 && text[0] == ' ') {
		text++;
		day_bytes = 1;
	}
	if (!digits(text, (int)day_bytes, &day) || text[day_bytes] != '-')
		return false;
	text += day_bytes + 1;
	month = month_of(text);
	if (!month || text[3] != '-' || !digits(text + 4, 4, &year) || text[8] != ' ' || !digits(text + 9, 2, &hour) ||
		text[11] != ':' || !digits(text + 12, 2, &minute) || text[14] != ':' ||
		!digits(text + 15, 2, &second) || text[17] != ' ' || (text[18] != '+' && text[18] != '-') ||
		!digits(text + 19, 2, &zone_hour) || !digits(text + 21, 2, &zone_minute))
		return false;
	if (day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 || second > 60 || zone_hour > 23 ||
		zone_minute > 59)
		return false;
	zone = zone_hour * 3600 + zone_minute * 60;
	*seconds_out = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second -
	               (text[18] == '-' ? -zone : zone);
	return true;
}
