#include "device/pc/rtc.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "host/host.h"

enum {
    R_SEC,
    R_SEC_ALARM,
    R_MIN,
    R_MIN_ALARM,
    R_HOUR,
    R_HOUR_ALARM,
    R_WDAY,
    R_DAY,
    R_MONTH,
    R_YEAR,
    R_A,
    R_B,
    R_C,
    R_D,
    CMOS_SIZE = 128
};
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_RATE = 0x0f };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 0x04, B_24H = 0x02 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VALID = 0x80 };
enum { HOUR_PM = 0x80, ALARM_ANY = 0xc0, DAY_SECONDS = 86400 };

#define NS_PER_SEC 1000000000ull
#define UIP_NS     244000ull

struct rtc {
    struct device dev;
    struct rtc_config cfg;
    struct clock_timer *timer;
    uint8_t cmos[CMOS_SIZE]; /* 0..9 and the century hold the time while frozen; else they are computed */
    uint8_t index, irq_level;
    uint64_t offset_ns;   /* rtc time = real time + offset (wraps) */
    uint64_t seen_sec;    /* last second whose update (alarm, UF) was taken into account */
    uint64_t periodic_at; /* guest ns of the next periodic flag, 0 when the rate is off */
};

static struct rtc *of(struct device *d)
{
    return (struct rtc *)(void *)d;
}

static uint64_t real_ns(const struct rtc *r)
{
    return r->cfg.realtime_ns ? r->cfg.realtime_ns(r->cfg.opaque) : host_realtime_ns();
}

static uint64_t rtc_ns(const struct rtc *r)
{
    return real_ns(r) + r->offset_ns;
}

/* Time stands still while SET is on or the divider chain is held in reset (data sheet, register A DV2..0). */
static bool frozen(const struct rtc *r)
{
    return (r->cmos[R_B] & B_SET) || (r->cmos[R_A] & 0x60) == 0x60;
}

/* ---- calendar ---- */

struct civil {
    unsigned year, month, day, wday, hour, min, sec; /* wday 1 is Sunday */
};

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar; month may be 1..12, day counts on. */
static int64_t days_of(unsigned year, unsigned month, unsigned day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = y / 400, yoe = y % 400;
    int64_t doy = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct civil civil_of(uint64_t sec)
{
    uint64_t days = sec / DAY_SECONDS, rest = sec % DAY_SECONDS;
    uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    struct civil c = {
        .month = (unsigned)(mp < 10 ? mp + 3 : mp - 9),
        .day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
        .wday = (unsigned)((days + 4) % 7 + 1),
        .hour = (unsigned)(rest / 3600),
        .min = (unsigned)(rest / 60 % 60),
        .sec = (unsigned)(rest % 60),
    };
    c.year = (unsigned)((yoe + era * 400 + (c.month <= 2)) % 10000);
    return c;
}

static uint8_t encode(const struct rtc *r, unsigned v)
{
    return (uint8_t)((r->cmos[R_B] & B_BINARY) ? v : (v / 10) << 4 | v % 10);
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
    return (r->cmos[R_B] & B_BINARY) ? v : (unsigned)(v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned h)
{
    if (r->cmos[R_B] & B_24H)
        return encode(r, h);
    return (uint8_t)(encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[R_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + ((v & HOUR_PM) ? 12 : 0);
}

/* Put the present time into the registers. */
static void latch_time(struct rtc *r)
{
    struct civil c = civil_of(rtc_ns(r) / NS_PER_SEC);
    r->cmos[R_SEC] = encode(r, c.sec);
    r->cmos[R_MIN] = encode(r, c.min);
    r->cmos[R_HOUR] = encode_hour(r, c.hour);
    r->cmos[R_WDAY] = (uint8_t)c.wday;
    r->cmos[R_DAY] = encode(r, c.day);
    r->cmos[R_MONTH] = encode(r, c.month);
    r->cmos[R_YEAR] = encode(r, c.year % 100);
    unsigned century = c.year / 100;
    r->cmos[RTC_CENTURY] = (uint8_t)((century / 10) << 4 | century % 10);
}

/* Make the time what the registers say, `fraction_ns` into that second. Nonsense is taken as arithmetic takes
 * it. */
static void time_from_registers(struct rtc *r, uint64_t fraction_ns)
{
    unsigned century = (unsigned)(r->cmos[RTC_CENTURY] >> 4) * 10 + (r->cmos[RTC_CENTURY] & 15);
    unsigned month = decode(r, r->cmos[R_MONTH]);
    unsigned year = century * 100 + decode(r, r->cmos[R_YEAR]);
    month = month < 1 ? 1 : month > 12 ? 12 : month;
    int64_t days = days_of(year < 1970 ? 1970 : year, month, decode(r, r->cmos[R_DAY]));
    uint64_t sec = (uint64_t)(days < 0 ? 0 : days) * DAY_SECONDS + decode_hour(r, r->cmos[R_HOUR]) * 3600ull +
                   decode(r, r->cmos[R_MIN]) * 60ull + decode(r, r->cmos[R_SEC]);
    r->offset_ns = sec * NS_PER_SEC + fraction_ns - real_ns(r);
    r->seen_sec = sec;
}

/* ---- alarm and interrupts ---- */

static bool alarm_matches(const struct rtc *r, unsigned sec_of_day)
{
    uint8_t sec = r->cmos[R_SEC_ALARM], min = r->cmos[R_MIN_ALARM], hour = r->cmos[R_HOUR_ALARM];
    return ((sec & ALARM_ANY) == ALARM_ANY || decode(r, sec) == sec_of_day % 60) &&
           ((min & ALARM_ANY) == ALARM_ANY || decode(r, min) == sec_of_day / 60 % 60) &&
           ((hour & ALARM_ANY) == ALARM_ANY || decode_hour(r, hour) == sec_of_day / 3600);
}

/* The first second in (after, upto] that the alarm matches, 0 if none. Looks at one day at most. */
static uint64_t next_alarm(const struct rtc *r, uint64_t after, uint64_t upto)
{
    uint64_t last = upto - after > DAY_SECONDS ? after + DAY_SECONDS : upto;
    for (uint64_t s = after + 1; s <= last; s++)
        if (alarm_matches(r, (unsigned)(s % DAY_SECONDS)))
            return s;
    return 0;
}

static uint64_t period_ns(const struct rtc *r)
{
    unsigned rate = r->cmos[R_A] & A_RATE;
    if (!rate || (r->cmos[R_A] & 0x60) == 0x60)
        return 0;
    if (rate < 3)
        rate += 7; /* with a 32.768 kHz crystal, rates 1 and 2 are those of 8 and 9 */
    return (NS_PER_SEC << (rate - 1)) / 32768;
}

static void update_irq(struct rtc *r)
{
    if (r->cmos[R_C] & r->cmos[R_B] & (C_PF | C_AF | C_UF))
        r->cmos[R_C] |= C_IRQF;
    else
        r->cmos[R_C] &= (uint8_t)~C_IRQF;
    uint8_t level = (r->cmos[R_C] & C_IRQF) != 0;
    if (level != r->irq_level) {
        r->irq_level = level;
        irq_set(&r->cfg.irq, level);
    }
}

/* Set the flags of all that has happened by now. */
static void catch_up(struct rtc *r)
{
    if (!frozen(r)) {
        uint64_t now = rtc_ns(r) / NS_PER_SEC;
        if (now > r->seen_sec) {
            r->cmos[R_C] |= C_UF;
            if (!(r->cmos[R_C] & C_AF) && next_alarm(r, r->seen_sec, now))
                r->cmos[R_C] |= C_AF;
        }
        r->seen_sec = now;
    }
    uint64_t period = period_ns(r), now = clock_now(r->cfg.clock);
    if (period && r->periodic_at && now >= r->periodic_at) {
        r->cmos[R_C] |= C_PF;
        r->periodic_at += ((now - r->periodic_at) / period + 1) * period;
    }
    update_irq(r);
}

/* Arm the timer for the next event that would interrupt. While an interrupt waits to be acknowledged there is
 * nothing to add. */
static void rearm(struct rtc *r)
{
    uint64_t when = UINT64_MAX, now = clock_now(r->cfg.clock);
    uint8_t wanted = r->cmos[R_B] & (uint8_t)~r->cmos[R_C];
    if (!r->irq_level) {
        if ((wanted & B_PIE) && r->periodic_at && period_ns(r))
            when = r->periodic_at;
        if ((wanted & (B_AIE | B_UIE)) && !frozen(r)) {
            uint64_t t = rtc_ns(r), sec = r->seen_sec + 1;
            if (!(wanted & B_UIE)) {
                uint64_t alarm = next_alarm(r, r->seen_sec, r->seen_sec + DAY_SECONDS);
                sec = alarm ? alarm : r->seen_sec + DAY_SECONDS;
            }
            uint64_t at = sec * NS_PER_SEC, delta = at > t ? at - t : 0;
            if (now + delta < when)
                when = now + delta;
        }
    }
    if (when == UINT64_MAX)
        clock_timer_disarm(r->timer);
    else
        clock_timer_arm(r->timer, when);
}

static void on_timer(void *opaque)
{
    struct rtc *r = opaque;
    lock_take(&r->dev.lock);
    catch_up(r);
    rearm(r);
    lock_drop(&r->dev.lock);
}

/* ---- registers ---- */

static bool is_time(uint8_t i)
{
    return i == R_SEC || i == R_MIN || i == R_HOUR || (i >= R_WDAY && i <= R_YEAR) || i == RTC_CENTURY;
}

static uint8_t read_reg(struct rtc *r, uint8_t i)
{
    uint8_t v;
    if (is_time(i)) {
        if (!frozen(r))
            latch_time(r);
        return r->cmos[i];
    }
    switch (i) {
    case R_A:
        v = r->cmos[R_A] & (uint8_t)~A_UIP;
        if (!frozen(r) && rtc_ns(r) % NS_PER_SEC >= NS_PER_SEC - UIP_NS)
            v |= A_UIP;
        return v;
    case R_C:
        catch_up(r);
        v = r->cmos[R_C];
        r->cmos[R_C] = 0;
        update_irq(r);
        rearm(r);
        return v;
    case R_D:
        return D_VALID;
    default:
        return r->cmos[i];
    }
}

/* Registers A and B start and stop the clock between them. */
static void write_control(struct rtc *r, uint8_t i, uint8_t v)
{
    bool was_frozen = frozen(r), was_reset = (r->cmos[R_A] & 0x60) == 0x60;
    uint64_t was_period = period_ns(r), fraction = rtc_ns(r) % NS_PER_SEC;
    catch_up(r);
    if (!was_frozen)
        latch_time(r);
    uint8_t was_b = r->cmos[R_B];
    r->cmos[i] = i == R_A ? v & 0x7f : v;
    if (i == R_B && (v & B_SET))
        r->cmos[R_B] &= (uint8_t)~B_UIE; /* SET clears UIE */
    if (was_frozen && !frozen(r)) {
        /* Out of divider reset the first update comes half a second later. */
        time_from_registers(r, was_reset ? NS_PER_SEC / 2 : fraction);
    } else if (!frozen(r) && ((was_b ^ r->cmos[R_B]) & (B_BINARY | B_24H))) {
        latch_time(r); /* the mode changes what is shown, not what time it is */
    }
    if (period_ns(r) != was_period)
        r->periodic_at = period_ns(r) ? clock_now(r->cfg.clock) + period_ns(r) : 0;
    update_irq(r);
    rearm(r);
}

static void write_reg(struct rtc *r, uint8_t i, uint8_t v)
{
    if (is_time(i)) {
        if (frozen(r)) {
            r->cmos[i] = v;
            return;
        }
        catch_up(r);
        uint64_t fraction = rtc_ns(r) % NS_PER_SEC;
        latch_time(r);
        r->cmos[i] = v;
        time_from_registers(r, fraction);
        rearm(r);
        return;
    }
    switch (i) {
    case R_A:
    case R_B:
        write_control(r, i, v);
        break;
    case R_C:
    case R_D:
        break;
    case R_SEC_ALARM:
    case R_MIN_ALARM:
    case R_HOUR_ALARM:
        catch_up(r);
        r->cmos[i] = v;
        rearm(r);
        break;
    default:
        r->cmos[i] = v;
        break;
    }
}

static uint32_t rtc_read(void *opaque, uint16_t offset, unsigned size)
{
    struct rtc *r = opaque;
    (void)size;
    return offset ? read_reg(r, r->index) : 0xff; /* the index cannot be read back */
}

static void rtc_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct rtc *r = opaque;
    (void)size;
    if (offset)
        write_reg(r, r->index, (uint8_t)value);
    else
        r->index = value & 0x7f; /* bit 7 masks NMI, and nothing here raises one */
}

void rtc_set_cmos(struct rtc *r, uint8_t index, uint8_t value)
{
    if (index > R_D && index < CMOS_SIZE && index != RTC_CENTURY)
        r->cmos[index] = value;
}

/* ---- the device ---- */

static const struct field rtc_fields[] = {
    FIELD_BLOB(struct rtc, cmos),
    FIELD(struct rtc, index, .max = 0x7f),
    FIELD(struct rtc, irq_level, .max = 1),
    FIELD(struct rtc, offset_ns),
    FIELD(struct rtc, seen_sec),
    FIELD(struct rtc, periodic_at),
};

static const struct field_table rtc_table = {"rtc", 1, rtc_fields, ARRAY_LEN(rtc_fields), NULL};

static unsigned rtc_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&rtc_table, d, d->instance};
    return max ? 1 : 0;
}

static int rtc_loaded(struct device *d, struct err *e)
{
    struct rtc *r = of(d);
    uint64_t period = period_ns(r);
    (void)e;
    r->cmos[R_A] &= 0x7f;
    /* The phase is at most one period ahead, whatever the file says; seconds that passed meanwhile raise
     * nothing by themselves. */
    uint64_t now = clock_now(r->cfg.clock);
    if (!period)
        r->periodic_at = 0;
    else if (!r->periodic_at || r->periodic_at > now + period)
        r->periodic_at = now + period;
    irq_set(&r->cfg.irq, r->irq_level);
    rearm(r);
    return 0;
}

/* The battery keeps time and memory; RESET clears the enables and flags (data sheet, RESET pin). */
static void rtc_reset(struct device *d)
{
    struct rtc *r = of(d);
    if (frozen(r)) {
        r->cmos[R_B] &= (uint8_t)~B_SET;
        r->cmos[R_A] = 0x26;
        time_from_registers(r, 0);
    }
    latch_time(r);
    r->cmos[R_A] = 0x26; /* 32768 Hz, 1024 Hz rate: what every firmware leaves */
    r->cmos[R_B] = B_24H;
    r->cmos[R_C] = 0;
    r->index = 0;
    r->seen_sec = rtc_ns(r) / NS_PER_SEC;
    r->periodic_at = clock_now(r->cfg.clock) + period_ns(r);
    update_irq(r);
    rearm(r);
}

static void rtc_free(struct device *d)
{
    struct rtc *r = of(d);
    bus_release(r->cfg.bus, r->cfg.port, 2);
    clock_timer_free(r->timer);
    device_fini(d);
    free(r);
}

static const struct device_ops rtc_device_ops = {
    .kind = "rtc",
    .reset = rtc_reset,
    .saved = rtc_saved,
    .loaded = rtc_loaded,
    .free = rtc_free,
};

static const struct bus_ops rtc_bus_ops = {rtc_read, rtc_write, .max_size = 1};

struct rtc *rtc_new(const struct rtc_config *cfg, struct err *e)
{
    struct rtc *r = calloc(1, sizeof(*r));
    if (!r) {
        err_set(e, ENOMEM, "rtc: out of memory");
        return NULL;
    }
    r->cfg = *cfg;
    device_init(&r->dev, &rtc_device_ops, 0);
    r->timer = clock_timer_new(cfg->clock, cfg->loop, on_timer, r, e);
    if (!r->timer)
        goto fail;
    rtc_reset(&r->dev);
    if (bus_claim(cfg->bus, "rtc", cfg->port, 2, &rtc_bus_ops, r, &r->dev.lock, e))
        goto fail_timer;
    return r;
fail_timer:
    clock_timer_free(r->timer);
fail:
    device_fini(&r->dev);
    free(r);
    return NULL;
}

struct device *rtc_device(struct rtc *r)
{
    return &r->dev;
}
