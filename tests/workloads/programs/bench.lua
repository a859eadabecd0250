-- bench.lua [SCALE]: classic small benchmarks, whose results are printed; for luajit with and without its compiler,
-- and for lua.
local scale = tonumber(arg[1] or "1")
local function say(name, ...) print(name, ...) end

local function nbody(n)
  local b = {
    {0, 0, 0, 0, 0, 0, 39.47841760435743},
    {4.84143144246472090, -1.16032004402742839, -0.10362204447112311,
     0.60632639299583, 2.81198684491626, -0.02521836165988763,
     0.03769367487038949},
    {8.34336671824457987, 4.12479856412430479, -0.40352341711433131,
     -1.01077434617879, 1.82566237123041, 0.008415761376584154,
     0.011286326131968767},
    {12.8943695621391310, -15.1111514016986312, -0.22330757889265573,
     1.08279100644153, 0.868713018169607, -0.01083263740136364,
     0.0017237240570597112},
    {15.3796971148509165, -25.9193146099879641, 0.17925877295037118,
     0.97909073224389, 0.594698998647676, -0.03475595557707364,
     0.0020336868699246304},
  }
  for _ = 1, n do
    for i = 1, 5 do
      local bi = b[i]
      for j = i + 1, 5 do
        local bj = b[j]
        local dx, dy, dz = bi[1] - bj[1], bi[2] - bj[2], bi[3] - bj[3]
        local d2 = dx * dx + dy * dy + dz * dz
        local mag = math.sqrt(d2)
        mag = 0.01 / (mag * d2)
        local im, jm = bi[7] * mag, bj[7] * mag
        bi[4], bi[5], bi[6] = bi[4] - dx * jm, bi[5] - dy * jm, bi[6] - dz * jm
        bj[4], bj[5], bj[6] = bj[4] + dx * im, bj[5] + dy * im, bj[6] + dz * im
      end
    end
    for i = 1, 5 do
      local bi = b[i]
      bi[1], bi[2], bi[3] = bi[1] + 0.01 * bi[4], bi[2] + 0.01 * bi[5], bi[3] + 0.01 * bi[6]
    end
  end
  return string.format("%.12f %.12f", b[1][1], b[5][3])
end

local function fannkuch(n)
  local p, q, s, sign, maxflips, sum = {}, {}, {}, 1, 0, 0
  for i = 1, n do p[i] = i; q[i] = i; s[i] = i end
  repeat
    local q0 = p[1]
    if q0 ~= 1 then
      for i = 2, n do q[i] = p[i] end
      local flips = 1
      while true do
        local qq = q[q0]
        if qq == 1 then
          sum = sum + sign * flips
          if flips > maxflips then maxflips = flips end
          break
        end
        q[q0] = q0
        if q0 >= 4 then
          local i, j = 2, q0 - 1
          repeat q[i], q[j] = q[j], q[i]; i = i + 1; j = j - 1 until i >= j
        end
        q0 = qq
        flips = flips + 1
      end
    end
    if sign == 1 then
      p[1], p[2] = p[2], p[1]
      sign = -1
    else
      p[2], p[3] = p[3], p[2]
      sign = 1
      for i = 3, n do
        local sx = s[i]
        if sx ~= 1 then s[i] = sx - 1; break end
        if i == n then return sum, maxflips end
        s[i] = i
        local t = p[1]
        for j = 1, i do p[j] = p[j + 1] end
        p[i + 1] = t
      end
    end
  until false
end

local function spectral(n)
  local function a(i, j) local ij = i + j - 1; return 1 / (ij * (ij - 1) * 0.5 + i) end
  local function av(x, y)
    for i = 1, n do local s = 0; for j = 1, n do s = s + x[j] * a(i, j) end; y[i] = s end
  end
  local function atv(x, y)
    for i = 1, n do local s = 0; for j = 1, n do s = s + x[j] * a(j, i) end; y[i] = s end
  end
  local u, v, t = {}, {}, {}
  for i = 1, n do u[i] = 1 end
  for _ = 1, 10 do av(u, t); atv(t, v); av(v, t); atv(t, u) end
  local vbv, vv = 0, 0
  for i = 1, n do vbv = vbv + u[i] * v[i]; vv = vv + v[i] * v[i] end
  return string.format("%.9f", math.sqrt(vbv / vv))
end

local function trees(depth)
  local function make(d) if d == 0 then return {} end; return {make(d - 1), make(d - 1)} end
  local function count(t) if not t[1] then return 1 end; return 1 + count(t[1]) + count(t[2]) end
  local sum = 0
  for _ = 1, 20 do sum = sum + count(make(depth)) end
  return sum
end

local function mandelbrot(n)
  local inside = 0
  for y = 0, n - 1 do
    local ci = 2 * y / n - 1
    for x = 0, n - 1 do
      local cr, zr, zi, k = 2 * x / n - 1.5, 0, 0, 0
      repeat
        zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
        k = k + 1
      until k == 60 or zr * zr + zi * zi > 4
      inside = inside + k
    end
  end
  return inside
end

local function sieve(n)
  local f, c = {}, 0
  for i = 2, n do f[i] = true end
  for i = 2, n do
    if f[i] then c = c + 1; for k = i + i, n, i do f[k] = false end end
  end
  return c
end

local function strings(n)
  local parts, h = {}, 0
  for i = 1, n do
    parts[#parts + 1] = string.format("%d:%x:%g;", i, i * 7919 % 65521, i / 7)
    if #parts == 100 then
      local s = table.concat(parts)
      for a, b in s:gmatch("(%d+):(%x+)") do h = (h * 31 + tonumber(a) + tonumber(b, 16)) % 1000000007 end
      h = (h + #s:reverse():upper():gsub("[AB]", "<%0>")) % 1000000007
      parts = {}
    end
  end
  return h
end

local function coroutines(n)
  local function gen(k) return coroutine.wrap(function() for i = 1, k do coroutine.yield(i * i % 97) end end) end
  local s = 0
  for i = 1, n do for v in gen(i % 50) do s = s + v end end
  return s
end

local function sorting(n)
  local t, x = {}, 42
  for i = 1, n do x = (x * 16807) % 2147483647; t[i] = x end
  table.sort(t)
  local ok = true
  for i = 2, n do if t[i - 1] > t[i] then ok = false end end
  table.sort(t, function(p, q) return p % 1000 < q % 1000 or (p % 1000 == q % 1000 and p < q) end)
  return ok, t[1], t[n]
end

local function calls()
  local s = 0
  local ok, why
  for i = 1, 2000 do
    ok, why = pcall(function() if i % 3 == 0 then error({i}) end; s = s + select("#", string.byte("abc", 1, -1)) end)
    if not ok then s = s + why[1] end
  end
  return s
end

say("nbody", nbody(40000 * scale))
say("fannkuch", fannkuch(scale > 1 and 10 or 9))
say("spectral", spectral(100 * scale))
say("trees", trees(12))
say("mandelbrot", mandelbrot(150 * scale))
say("sieve", sieve(400000 * scale))
say("strings", strings(30000 * scale))
say("coroutines", coroutines(2000 * scale))
say("sorting", sorting(50000 * scale))
say("calls", calls())
