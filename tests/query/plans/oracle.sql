-- columns and conditions
SELECT id + 1, -id, stock FROM item WHERE id BETWEEN 3 AND 9
SELECT * FROM item WHERE id = 5
SELECT * FROM item WHERE id IN (1, 5, 9, 100)
SELECT * FROM item WHERE maker IN (1, 2) AND id > 3 ORDER BY id DESC
SELECT id FROM item WHERE maker IS NULL
SELECT id FROM item WHERE maker NOT IN (1, 2, NULL)
SELECT id FROM item WHERE maker NOT IN (1, 2)
SELECT id FROM item WHERE NOT (maker = 1 AND id > 5)
SELECT id FROM item WHERE (maker = 1) IS NULL
SELECT id FROM item WHERE NOT (maker = 1 OR price > 3)
SELECT id FROM item WHERE (maker = 1 OR maker IS NULL) AND (id > 3 OR name IS NULL)
SELECT id FROM item WHERE maker IS NOT DISTINCT FROM NULL
SELECT id FROM item WHERE maker IS DISTINCT FROM 3
SELECT id FROM item WHERE (maker > 2) IS TRUE
SELECT id FROM item WHERE (maker > 2) IS NOT TRUE
SELECT id, maker BETWEEN 1 AND 3, maker IN (1, NULL), NOT maker = 2 FROM item
SELECT id FROM item WHERE maker > 1 AND maker <= 3
SELECT id FROM item WHERE maker = 2 AND stock = 1
SELECT id FROM item WHERE maker = 2 AND stock > 0
SELECT id FROM item WHERE maker IN (2, 3) AND stock IN (0, 1)
SELECT id FROM item WHERE name = 'i5'
SELECT id FROM item WHERE name > 'i25'
SELECT id FROM item WHERE name LIKE 'i1%'
SELECT id FROM item WHERE name NOT LIKE '%1'
SELECT * FROM visit WHERE town = 'oslo'
SELECT * FROM visit WHERE town = 'oslo' AND day >= 2
SELECT * FROM visit WHERE town IN ('oslo', 'wien') AND day = 1
SELECT * FROM visit WHERE day = 1
SELECT id FROM item WHERE id = 5 AND id = 6
SELECT id FROM item WHERE id > 5 AND id > 7 AND id < 20 AND id < 11
SELECT id FROM item WHERE id > 11 AND id < 5
SELECT id, CASE WHEN maker = 1 THEN 'one' WHEN maker IS NULL THEN 'none' ELSE 'many' END FROM item
SELECT id, CASE maker WHEN 1 THEN 10 WHEN 2 THEN 20 END FROM item
SELECT COALESCE(maker, 99), NULLIF(maker, 1), IFNULL(name, 'zz') FROM item
SELECT id FROM item WHERE COALESCE(maker, -1) = -1
SELECT id % 3, id / 3, -id / 3 FROM item
SELECT abs(maker - 3), upper(name), length(name), id || '-' || name FROM item
SELECT 1 + 1, 'x', NULL
SELECT id FROM item WHERE 1 = 0
SELECT count(*), sum(id) FROM item WHERE NULL
SELECT count(*) FROM item i LEFT JOIN maker m ON 1 = 0
SELECT 21 FROM item WHERE NULL IS NOT NULL
SELECT count(*) + 1 FROM item WHERE NOT NULL = 5
SELECT count(*) * (NULL + 0), 3 FROM item
-- order and limit
SELECT id FROM item ORDER BY id DESC LIMIT 3
SELECT id, maker FROM item ORDER BY maker NULLS LAST, id LIMIT 5 OFFSET 2
SELECT id, maker FROM item ORDER BY maker DESC NULLS FIRST, id LIMIT 7
SELECT id, maker, stock FROM item ORDER BY maker NULLS FIRST, stock DESC, id
SELECT id FROM item ORDER BY price DESC NULLS LAST, id DESC LIMIT 4
SELECT maker, stock FROM item WHERE maker = 3 ORDER BY stock, id
SELECT town, day FROM visit ORDER BY town DESC, day DESC
SELECT maker, id FROM item WHERE maker > 2 ORDER BY maker, stock, id LIMIT 4
SELECT day FROM visit WHERE town = 'rome' ORDER BY day DESC LIMIT 2
SELECT id AS maker FROM item ORDER BY maker LIMIT 3
SELECT stock * 2 AS twice, id FROM item ORDER BY twice DESC, 2 LIMIT 5
-- groups
SELECT count(*), count(maker), sum(maker), avg(price), min(name), max(id), count(DISTINCT maker) FROM item
SELECT maker, count(*), sum(id), min(name), avg(price) FROM item GROUP BY maker
SELECT maker + 1, sum(id * 2) + 1 FROM item GROUP BY maker + 1 HAVING count(*) > 5
SELECT maker, stock, count(*) FROM item GROUP BY maker, stock ORDER BY maker NULLS LAST, stock
SELECT count(*), sum(id), max(price) FROM item WHERE id > 1000
SELECT maker, count(*) FROM item WHERE id > 1000 GROUP BY maker
SELECT sum(DISTINCT maker), count(DISTINCT name), avg(DISTINCT stock) FROM item
SELECT stock, sum(amount) FROM item JOIN sale ON sale.item = item.id GROUP BY stock ORDER BY 2 DESC
SELECT count(*) FROM item HAVING count(*) > 1000
SELECT DISTINCT maker FROM item ORDER BY maker NULLS FIRST
SELECT DISTINCT stock, maker IS NULL FROM item
SELECT count(*) FROM (SELECT DISTINCT maker FROM item) AS d
SELECT m.id, m.name, count(*) FROM maker m JOIN item i ON i.maker = m.id GROUP BY m.id
-- joins
SELECT item.id, sale.amount FROM item, sale WHERE item.id = sale.item
SELECT i.id, s.amount, m.name FROM item i JOIN sale s ON i.id = s.item JOIN maker m ON m.id = i.maker WHERE s.day > 1
SELECT i.id, s.amount FROM item i LEFT JOIN sale s ON i.id = s.item AND s.amount > 20
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id AND m.town = 'rome' AND i.stock > 0
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker < m.id AND m.town IS NOT NULL
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE m.name IS NULL
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE m.town = 'oslo'
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE m.town = 'oslo' OR i.stock = 1
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE NOT m.town = 'oslo'
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE m.town IS NOT NULL
SELECT i.id, m.name FROM item i LEFT JOIN maker m ON i.maker = m.id WHERE COALESCE(m.town, 'oslo') = 'oslo'
SELECT i.id, v.guests FROM item i LEFT JOIN maker m ON i.maker = m.id JOIN visit v ON v.town = m.town AND v.day = i.stock
SELECT i.id, m.name, v.guests FROM item i LEFT JOIN maker m ON i.maker = m.id LEFT JOIN visit v ON v.town = m.town AND v.day = i.stock
SELECT a.id, b.id FROM item a, item b WHERE a.maker = b.maker AND a.id < b.id
SELECT i.id, s.day FROM item i JOIN sale s ON s.item = i.id WHERE i.id = 5
SELECT i.id, o.id FROM item i JOIN item o ON o.maker = i.maker WHERE i.id = 5
SELECT i.id, o.id FROM item i LEFT JOIN item o ON o.maker = i.maker AND o.stock = 2 AND o.id > i.id WHERE i.id = 5
SELECT count(*) FROM item, sale, maker
SELECT count(*) FROM item i JOIN sale s ON i.id = s.item OR i.stock = s.day
SELECT i.id FROM item i JOIN maker m ON i.maker = m.id AND i.id > m.id + 20
SELECT count(*) FROM item i JOIN sale s ON (i.id = s.item AND s.day = 1) OR (i.id = s.item AND i.stock = 2)
SELECT * FROM visit JOIN (SELECT town, max(day) AS day FROM visit GROUP BY town) AS last USING (town, day)
SELECT day, item, guests FROM sale LEFT JOIN visit USING (day) WHERE item < 4
-- subqueries
SELECT id FROM item WHERE id IN (SELECT amount FROM sale WHERE day > 1)
SELECT id FROM item WHERE maker NOT IN (SELECT item FROM sale)
SELECT id FROM item WHERE maker NOT IN (SELECT item FROM sale WHERE item IS NOT NULL)
SELECT id, maker IN (SELECT item FROM sale WHERE item > 2) FROM item
SELECT id, maker IN (SELECT item FROM sale WHERE item > 1000) FROM item
SELECT id FROM item WHERE EXISTS (SELECT 1 FROM sale WHERE sale.item = item.id AND sale.amount > 5)
SELECT id FROM item WHERE NOT EXISTS (SELECT 1 FROM sale WHERE sale.item = item.id)
SELECT id, (SELECT max(amount) FROM sale WHERE sale.item = item.id) FROM item
SELECT id, (SELECT name FROM maker WHERE maker.id = item.maker) FROM item
SELECT maker, (SELECT count(*) FROM sale WHERE sale.item = item.maker) FROM item GROUP BY maker
SELECT id FROM item WHERE price > (SELECT avg(price) FROM item)
SELECT id FROM item WHERE id = (SELECT max(id) FROM item WHERE stock = 1)
SELECT o.id FROM item o WHERE o.price >= (SELECT max(price) FROM item i WHERE i.maker = o.maker)
SELECT o.id FROM item o WHERE EXISTS (SELECT 1 FROM item i WHERE i.maker = o.maker AND EXISTS (SELECT 1 FROM sale s WHERE s.item = i.id AND s.day = o.stock))
SELECT g.total, m.name FROM (SELECT maker AS k, sum(id) AS total FROM item GROUP BY maker) AS g JOIN maker m ON m.id = g.k WHERE g.total > 60
SELECT * FROM (SELECT id, stock FROM item ORDER BY id DESC LIMIT 5) AS last WHERE stock = 1
SELECT * FROM (SELECT id + 1 AS next, stock FROM item) AS n WHERE next < 5
SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM sale)
SELECT id FROM item WHERE stock = (SELECT min(day) FROM sale WHERE sale.item = item.id AND amount > (SELECT avg(amount) FROM sale)) ORDER BY id
VALUES (1, 'a'), (2, 'b')
