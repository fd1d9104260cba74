/* Prints the primes up to a number: the sieve of Eratosthenes. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    char *end = "?";
    long limit = argc == 2 ? strtol(argv[1], &end, 10) : 0;
    if (*end != '\0' || limit < 2 || limit > 100000000) {
        fprintf(stderr, "usage: %s LIMIT, which is 2 or more\n", argv[0]);
        return 2;
    }
    bool *composite = calloc(limit + 1, sizeof *composite);
    if (composite == NULL) {
        perror("primes");
        return 1;
    }
    for (long number = 2; number <= limit; number++) {
        if (composite[number])
            continue;
        printf("%ld\n", number);
        for (long multiple = 2 * number; multiple <= limit; multiple += number)
            composite[multiple] = true;
    }
    free(composite);
    return 0;
}
