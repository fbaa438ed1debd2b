/* What the generated bindings need of a C library, and nothing that would need an operating system.
 *
 * The allocator hands out blocks of 16, 32, 64, ... bytes, keeps a list of free ones of each size, and takes new
 * ones from the end of the memory. A block never changes its size and memory never shrinks: a strategy asks for
 * the same few sizes again and again. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 65536u
/* In front of each block; a whole multiple of the strictest alignment. */
#define HEADER_BYTES 16u
#define SMALLEST_LOG2 4u
/* Beyond half a gigabyte the sums below would wrap; the host allows far less. */
#define SIZE_MAX_BYTES ((size_t)1 << 29)

struct block {
  struct block *next;
};

extern uint8_t __heap_base;

static struct block *free_blocks[32];
static uintptr_t end_of_used;

static uint32_t *size_log2_of(void *block) { return (uint32_t *)((uintptr_t)block - HEADER_BYTES); }

_Noreturn void abort(void) { __builtin_trap(); }

/* Out of memory is the end: the host counts memory, and a strategy that goes on without it would trade on less
 * than it was told. So callers need no check. */
void *malloc(size_t size) {
  if (size > SIZE_MAX_BYTES) abort();
  uint32_t size_log2 = size <= 16 ? SMALLEST_LOG2 : 32u - (uint32_t)__builtin_clz((unsigned)size - 1u);
  struct block *kept = free_blocks[size_log2];
  if (kept) {
    free_blocks[size_log2] = kept->next;
    return kept;
  }
  if (!end_of_used) end_of_used = ((uintptr_t)&__heap_base + HEADER_BYTES - 1) & ~(uintptr_t)(HEADER_BYTES - 1);
  uintptr_t block = end_of_used + HEADER_BYTES;
  uintptr_t end = block + ((uintptr_t)1 << size_log2);
  uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE_BYTES - 1) / PAGE_BYTES) == (size_t)-1) abort();
  end_of_used = end;
  *size_log2_of((void *)block) = size_log2;
  return (void *)block;
}

void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) abort();
  return memset(malloc(bytes), 0, bytes);
}

void free(void *block) {
  if (!block) return;
  uint32_t size_log2 = *size_log2_of(block);
  struct block *freed = block;
  freed->next = free_blocks[size_log2];
  free_blocks[size_log2] = freed;
}

void *realloc(void *block, size_t size) {
  if (!block) return malloc(size);
  size_t have = (size_t)1 << *size_log2_of(block);
  if (size <= have) return block;
  void *larger = malloc(size);
  memcpy(larger, block, have);
  free(block);
  return larger;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  while (size--) *out++ = *in++;
  return to;
}

void *memset(void *to, int byte, size_t size) {
  uint8_t *out = to;
  while (size--) *out++ = (uint8_t)byte;
  return to;
}

int memcmp(const void *a, const void *b, size_t size) {
  const uint8_t *x = a, *y = b;
  for (; size; size--, x++, y++)
    if (*x != *y) return *x < *y ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  const char *end = text;
  while (*end) end++;
  return (size_t)(end - text);
}
