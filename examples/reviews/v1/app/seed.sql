-- A data set big enough to mean something, the same every time. Keys are made from numbers, so that running
-- it again adds nothing. Everything happens in the year before the first of November.

create function pg_temp.key(kind text, n bigint) returns uuid language sql immutable
    return md5(kind || ':' || n)::uuid;
create function pg_temp.ago(n bigint, step interval) returns timestamptz language sql immutable
    return timestamptz '2026-11-01 00:00:00+00' - n * step;
create function pg_temp.station(n bigint) returns text language sql immutable
    return (array['CA-ROSEVILLE', 'CA-SACRAMENTO', 'CA-FREMONT', 'CA-SANJOSE'])[1 + n % 4];

insert into core.customers (id, name, phone, created_at)
select pg_temp.key('customer', n), 'Guest ' || n, '+1555' || lpad(n::text, 7, '0'), pg_temp.ago(n, '20 minutes')
from generate_series(1, 20000) n on conflict do nothing;

-- Two bookings a customer, all asked for a review but the newest hundred.
insert into core.bookings (id, customer_id, station_id, guests, booked_at, completed_at, review_requested_at)
select pg_temp.key('booking', n), pg_temp.key('customer', 1 + n % 20000), pg_temp.station(n), 2 + n % 12,
    completed - interval '7 days', completed, case when n > 100 then completed + interval '1 day' end
from generate_series(1, 40000) n, pg_temp.ago(n, '12 minutes') completed on conflict do nothing;

-- 90 in 100 are done with, 5 wait for the guest, 4 for the team, 1 is escalated.
insert into feedback.customer_reviews
    (id, customer_id, booking_id, station_id, status, rating, comment, created_at, submitted_at)
select pg_temp.key('review', n), pg_temp.key('customer', 1 + n % 20000), pg_temp.key('booking', n),
    pg_temp.station(n), status,
    case status when 'pending' then null when 'escalated' then 'could_be_better'
        else (array['great', 'good', 'okay', 'great'])[1 + (n / 7) % 4] end,
    case when status <> 'pending' then 'Comment ' || n || repeat(' and the onion volcano', 1 + n % 4) end,
    asked, case when status <> 'pending' then asked + interval '1 day' end
from (
    select n, pg_temp.ago(n, '12 minutes') + interval '1 day' as asked,
        case when n * 7919 % 100 < 90 then 'completed' when n * 7919 % 100 < 95 then 'pending'
            when n * 7919 % 100 < 99 then 'submitted' else 'escalated' end as status
    from generate_series(101, 40000) n
) rows on conflict do nothing;

insert into feedback.review_escalations (id, review_id, reason, created_at)
select md5('escalation:' || id)::uuid, id, 'could_be_better', submitted_at
from feedback.customer_reviews where status = 'escalated' on conflict do nothing;

insert into feedback.discount_coupons (id, code, customer_id, discount_percent, min_order, valid_until, used, created_at)
select pg_temp.key('coupon', n), 'SEED-' || lpad(n::text, 6, '0'), pg_temp.key('customer', 1 + n % 20000), 10, 50,
    given + interval '90 days', n % 3 > 0, given
from generate_series(1, 25000) n, pg_temp.ago(n, '20 minutes') given on conflict do nothing;

insert into marketing.qr_codes (id, code, name, target_url)
select pg_temp.key('code', n), 'BC' || lpad(n::text, 3, '0'), 'Table ' || n, '/contact'
from generate_series(2, 12) n on conflict do nothing;

-- Half of the scans are the business card's, the rest is spread over the tables; 1 in 40 became a booking.
insert into marketing.qr_scans
    (id, qr_code_id, session_id, device, user_agent, ip, scanned_at, converted_to_booking, converted_at)
select pg_temp.key('scan', n), c.id, pg_temp.key('session', n / 2),
    (array['mobile', 'mobile', 'mobile', 'desktop', 'tablet'])[1 + n % 5], 'Mozilla/5.0 (seed)',
    '198.51.100.0'::inet + n % 256, scanned, n % 40 = 0, case when n % 40 = 0 then scanned + interval '1 hour' end
from generate_series(1, 120000) n
cross join pg_temp.ago(n, '4 minutes') scanned
join marketing.qr_codes c on c.code = 'BC' || lpad((case when n % 2 = 0 then 1 else 2 + n % 11 end)::text, 3, '0')
on conflict do nothing;
