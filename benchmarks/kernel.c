/* The basic run by hand, for one seed on one core: what the machine can do.

   Two tanh MLPs 2 -> H -> (mean, logvar) and 1 -> H -> 2, Adam, batches of B points. The points lie
   along the contiguous axis of all arrays, so every loop over a batch is vector code, and all that
   a step touches fits the first cache. Noise and the order of the points are drawn here as well.
   Built with -O3 -march=native -ffast-math; H, B and N (points) are macros. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct { /* encoder, then decoder; kernels by unit */
  float w1[2][H], b1[H], mean_w[H], logvar_w[H], mean_b, logvar_b;
  float w2[H], b2[H], out_w[2][H], out_b[2];
} Params;

enum { SIZE = sizeof(Params) / sizeof(float) };

long vae_num_params(void) { return SIZE; }

/* A rational approximation, as in Eigen and XLA: good to some units in the last place. */
static inline float tanh_of(float x) {
  x = fminf(fmaxf(x, -7.99881172180175781f), 7.99881172180175781f);
  float s = x * x;
  float p = -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

/* Sets g to the gradient of the mean negative ELBO of B points; returns that mean. */
static float gradient(const Params *p, const float x[2][B], const float eps[B], float sigma,
                      Params *g) {
  static _Thread_local float h1[H][B], h2[H][B];
  float mean[B], logvar[B], z[B], out[2][B], d_mean[B], d_logvar[B], d_z[B];
  const float precision = 1 / (sigma * sigma), share = 1.0f / B;
  float loss = 0;

  for (int b = 0; b < B; b++) mean[b] = p->mean_b, logvar[b] = p->logvar_b;
  for (int i = 0; i < H; i++)
    for (int b = 0; b < B; b++) {
      float h = tanh_of(p->w1[0][i] * x[0][b] + p->w1[1][i] * x[1][b] + p->b1[i]);
      h1[i][b] = h;
      mean[b] += p->mean_w[i] * h;
      logvar[b] += p->logvar_w[i] * h;
    }
  for (int b = 0; b < B; b++) {
    float deviation = expf(0.5f * logvar[b]);
    z[b] = mean[b] + deviation * eps[b];
    d_logvar[b] = deviation; /* completed below */
    out[0][b] = p->out_b[0], out[1][b] = p->out_b[1];
    loss -= 0.5f * (1 + logvar[b] - mean[b] * mean[b] - deviation * deviation);
  }
  for (int i = 0; i < H; i++)
    for (int b = 0; b < B; b++) {
      float h = tanh_of(p->w2[i] * z[b] + p->b2[i]);
      h2[i][b] = h;
      out[0][b] += p->out_w[0][i] * h;
      out[1][b] += p->out_w[1][i] * h;
    }

  g->out_b[0] = g->out_b[1] = g->mean_b = g->logvar_b = 0;
  for (int b = 0; b < B; b++) {
    for (int d = 0; d < 2; d++) {
      float residual = out[d][b] - x[d][b];
      loss += 0.5f * precision * residual * residual;
      out[d][b] = share * precision * residual; /* from here on the gradient */
      g->out_b[d] += out[d][b];
    }
    d_z[b] = 0;
  }
  for (int i = 0; i < H; i++) {
    float w = 0, bias = 0, w0 = 0, w1 = 0;
    for (int b = 0; b < B; b++) {
      float h = h2[i][b];
      float d = (p->out_w[0][i] * out[0][b] + p->out_w[1][i] * out[1][b]) * (1 - h * h);
      w0 += out[0][b] * h;
      w1 += out[1][b] * h;
      w += d * z[b];
      bias += d;
      d_z[b] += d * p->w2[i];
    }
    g->out_w[0][i] = w0, g->out_w[1][i] = w1, g->w2[i] = w, g->b2[i] = bias;
  }
  for (int b = 0; b < B; b++) {
    float deviation = d_logvar[b];
    d_mean[b] = d_z[b] + share * mean[b];
    d_logvar[b] = 0.5f * (d_z[b] * deviation * eps[b] + share * (deviation * deviation - 1));
    g->mean_b += d_mean[b];
    g->logvar_b += d_logvar[b];
  }
  for (int i = 0; i < H; i++) {
    float w0 = 0, w1 = 0, bias = 0, mean_w = 0, logvar_w = 0;
    for (int b = 0; b < B; b++) {
      float h = h1[i][b];
      float d = (p->mean_w[i] * d_mean[b] + p->logvar_w[i] * d_logvar[b]) * (1 - h * h);
      mean_w += d_mean[b] * h;
      logvar_w += d_logvar[b] * h;
      w0 += d * x[0][b];
      w1 += d * x[1][b];
      bias += d;
    }
    g->w1[0][i] = w0, g->w1[1][i] = w1, g->b1[i] = bias;
    g->mean_w[i] = mean_w, g->logvar_w[i] = logvar_w;
  }
  return share * loss + logf(2 * (float)M_PI * sigma * sigma);
}

/* One step of Adam on B points, the count-th from 1 on; returns the loss before it. */
float vae_step(Params *params, Params *first, Params *second, long count, const float x[2][B],
           const float eps[B], float sigma, float rate) {
  Params grads;
  float loss = gradient(params, x, eps, sigma, &grads);
  float *p = (float *)params, *m = (float *)first, *v = (float *)second, *g = (float *)&grads;
  float fix1 = 1 / (1 - powf(0.9f, count)), fix2 = 1 / (1 - powf(0.999f, count));
  for (int i = 0; i < SIZE; i++) {
    m[i] = 0.9f * m[i] + 0.1f * g[i];
    v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
    p[i] -= rate * m[i] * fix1 / (sqrtf(v[i] * fix2) + 1e-8f);
  }
  return loss;
}

static inline uint32_t mixed(uint32_t h) { /* the finaliser of MurmurHash3 */
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

/* Trains for some epochs after those done; params and both moments are changed in place. Returns the
   mean loss of the last epoch. */
float vae_train(Params *params, Params *first, Params *second, const float x[2][N], uint32_t seed,
                long done, long epochs, float sigma, float rate) {
  float batch[2][B], eps[B], total = 0;
  int order[N];
  uint32_t counter = mixed(seed * 0x9e3779b9u + (uint32_t)done), state = mixed(counter + 1) | 1;
  for (int i = 0; i < N; i++) order[i] = i;
  for (long epoch = done; epoch < done + epochs; epoch++) {
    for (int i = N - 1; i > 0; i--) { /* Fisher and Yates */
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      int j = ((uint64_t)state * (i + 1)) >> 32, swapped = order[i];
      order[i] = order[j], order[j] = swapped;
    }
    total = 0;
    for (int s = 0; s < N / B; s++) {
      for (int b = 0; b < B; b++)
        for (int d = 0; d < 2; d++) batch[d][b] = x[d][order[s * B + b]];
      for (int b = 0; b < B / 2; b++) { /* Box and Muller */
        float u = (mixed(counter + 2 * b) >> 8) * 0x1p-24f + 0x1p-25f;
        float angle = (mixed(counter + 2 * b + 1) >> 8) * (0x1p-23f * (float)M_PI);
        float radius = sqrtf(-2 * logf(u));
        eps[b] = radius * cosf(angle), eps[B / 2 + b] = radius * sinf(angle);
      }
      counter += B;
      total += vae_step(params, first, second, epoch * (N / B) + s + 1, batch, eps, sigma, rate);
    }
  }
  return total / (N / B);
}
